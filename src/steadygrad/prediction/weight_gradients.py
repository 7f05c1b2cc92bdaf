"""The gradient of a weight: a sum over examples and positions of what came back times what went in."""

from __future__ import annotations

from .batch import Batch
from .field import Field
from .values import Moments


def weight_gradient(g: Moments, x: Moments, batch: Batch) -> float:
    """Return the second moment of Σ_bt g_bt x_bt over examples and positions, an entry of the weight's gradient.

    Of a gradient that lies along z = W x by the squared cosine a, products of two examples are a times those of z, and
    vary as those of x do: E[g·g' x·x'] has a Var(x·x') beside the product of the means.
    """
    varying = batch.off_diagonal(0.0) if x.field else batch.bounded(x.excess, x.product, x.q)
    along = min(max(g.along, 0.0), 1.0) * float(g.q.mean()) * float(x.q.mean()) * varying
    met = batch.size**2 * max(batch.pair_mean(g.product * x.product + along), 0.0)  # a mean of products of estimates
    field = g.field or x.field
    if field is None or field.count == 1:
        return met
    if g.field and x.field and g.field.sizes == x.field.sizes:
        met *= float((g.field.share * x.field.share).mean())
    return field.count * met + max(_between(g, x, field, batch), 0.0)


def _between(g: Moments, x: Moments, field: Field, batch: Batch) -> float:
    """Return what pairs of distinct positions add to a weight's gradient, as far as their entries are correlated."""
    size = float(g.q.mean()) * float(x.q.mean()) * batch.size * field.count * (field.count - 1)
    (own_g, other_g), (own_x, other_x) = _apart(g, batch), _apart(x, batch)
    varying = min(max(g.along, 0.0), 1.0) * (x.field.varied if x.field else 0.0)
    own, other = (1 - own_g) * (1 - own_x), (1 - other_g) * (1 - other_x)
    return size * (own + (batch.size - 1) * other + batch.size * varying)


def _apart(m: Moments, batch: Batch) -> tuple[float, float]:
    """Return by how much distinct positions differ, within an example and across two."""
    if m.field is not None:
        return m.field.apart()
    alone = 1 - float((m.mean**2).mean()) / max(float(m.q.mean()), 1e-300)
    return alone, alone
