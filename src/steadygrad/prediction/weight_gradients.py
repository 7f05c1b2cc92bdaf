"""Gradients of parameters: sums over examples and positions of a gradient, alone or times what went in.

An entry of a weight's gradient is Σ_bt g_bt x_bt, that of a bias Σ_bt g_bt, that of a scale Σ_bt g_bt z_bt of its own
unit. Second moments are sums over pairs of places: what two of them have in common counts by their distance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import each_pair
from .batch import Batch
from .field import Field, white
from .regridded import regridded
from .spread import CERTAIN
from .values import Moments


def of_weight(g: Moments, x: Moments, batch: Batch, *, met: float = 1.0) -> float:
    """Return the second moment of Σ_bt g_bt x_bt over examples and positions, an entry of the weight's gradient.

    Of a gradient that lies along z = W x by the squared cosine a, products of two examples are a times those of z, and
    vary as those of x do: E[g·g' x·x'] has a Var(x·x') beside the product of the means. `met` is the share of places
    at which there is an x: of a window that reaches beyond a border there is none.
    """
    varying = batch.off_diagonal(0.0) if x.field else batch.bounded(x.excess, x.product, x.q)
    along = min(max(g.along, 0.0), 1.0) * float(g.q.mean()) * float(x.q.mean()) * varying
    at_one = batch.size**2 * max(batch.pair_mean(g.product * x.product + along), 0.0)  # a mean of products of estimates
    products = each_pair.met_by(g.field, x.field) if g.field and x.field else None
    if products is not None and g.field is not None and x.field is not None:
        n, size = batch.size, float(g.q.mean()) * float(x.q.mean()) * batch.size
        further = n * min(max(g.along, 0.0), 1.0) * x.field.varied * (g.field.count - 1) * g.field.count
        return met * size * max(float(products[0].sum() + (n - 1) * products[1].sum()) + further, 0.0)
    field = g.field or x.field
    if field is None or field.count == 1:
        return at_one * met
    if g.field and x.field and g.field.sizes == x.field.sizes:
        at_one *= float((g.field.share * x.field.share).mean())
    return met * max(field.count * at_one + met * _between(g, x, field, batch), 0.0)


def of_bias(g: Moments, batch: Batch) -> float:
    """Return the second moment of Σ_bt g_bt."""
    if g.field is None:
        return batch.size**2 * max(batch.pair_mean(g.product), 0.0)
    if g.field.in_all is not None:
        own, other = g.field.in_all
        whole = own + (batch.size - 1) * other
        if whole > 0:  # else it is less than these tell
            return float(g.q.mean()) * batch.size * g.field.count**2 * whole
    r = batch.followed
    alike = white(g.field.sizes, 0.0, 0.0, 0.0)
    return of_weight(
        replace(g, along=0.0), Moments(np.ones(r), np.ones(r), np.zeros((r, r)), CERTAIN, field=alike), batch
    )


def beside_mean(x: Moments, batch: Batch) -> tuple[Moments, tuple[float, float]]:
    """Return what went in without what all places have in common, and that, of an example and of two, times q."""
    if x.field is None:
        return x, (0.0, 0.0)
    own, other = (1 - gap for gap in x.field.mean())
    left = max(1 - own, 1e-12)
    within, across = (1 - (1 - gap - mean) / left for gap, mean in ((x.field.within, own), (x.field.across, other)))
    field = replace(x.field, within=within, across=across, in_all=None, products=None)
    q = x.q * left
    product = x.product - other * float(x.q.mean())
    d = np.maximum((q[:, None] + q) / 2 - product, 0.0) * (1 - np.eye(len(q)))
    size = float(x.q.mean())
    return replace(x, mean=x.mean * 0.0, q=q, d=d, field=field), (own * size, other * size)


def _between(g: Moments, x: Moments, field: Field, batch: Batch) -> float:
    """Return what pairs of distinct positions add to a weight's gradient, as far as their entries are correlated."""
    size = float(g.q.mean()) * float(x.q.mean()) * batch.size * field.count**2
    varying = min(max(g.along, 0.0), 1.0) * (x.field.varied if x.field else 0.0)
    weights = field.weights.copy()
    weights.flat[0] = 0.0
    (own_g, other_g), (own_x, other_x) = _in_common(g, field), _in_common(x, field)
    pairs = own_g * own_x + (batch.size - 1) * other_g * other_x + batch.size * varying
    return size * float((weights * pairs).sum())


def _in_common(m: Moments, like: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return what two places have in common by lag, of an example and of two; the mean where lags are others."""
    field = m.field and regridded(m.field, like.sizes)
    if field is not None:
        return 1 - field.within, 1 - field.across
    if m.field is not None:
        own, other = m.field.apart()
    else:
        own = other = 1 - float((m.mean**2).mean()) / max(float(m.q.mean()), 1e-300)
    return np.full(like.sizes, 1 - own), np.full(like.sizes, 1 - other)
