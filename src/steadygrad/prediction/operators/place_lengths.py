"""What a layer norm divides places by, and what that leaves of gradients: of one place, and of what two have in common.

Of a place x of n features, of length s, a gradient g comes back as (g - mean - x (x·g)/|x|²)/s. Its square has E[1/s²],
and all but two of n directions. What two places have in common is divided by s s', of which E[1/(s s')] is
exp(-(v - c)/4) of E[1/s²], v and c the variance of log s² and its covariance at both (lognormal); and it loses its
mean, and what lies along either place: 1/n + (2 - k)/n, k their correlation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steadygrad.prediction import each_pair
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.field import Field
from steadygrad.prediction.values import Array, Moments, Signal

LEAST = 0.1  # of 1/(σ² E[1/s²]), as of fewer features than have an inverse mean


def at_equal(gap: Array, m: Moments, field: Field | None, variance: float, batch: Batch) -> Array:
    """Return 1 - c of examples where each place is divided by its own deviation: long ones count as the others."""
    products = [f.products for f in (m.field, field) if f is not None and f.products is not None]
    if len(products) < 2:
        return gap
    before, after = (float(np.diagonal(of_pairs[1]).mean()) for of_pairs in products)
    before = 1 - (1 - before) * float(m.q.mean()) / variance
    return np.clip(batch.off_diagonal(gap + before - after), 0.0, 2.0)


def inverse(x: Signal, field: Field | None, n: int) -> float:
    """Return 1/(σ² E[1/s²]) of the variance s² of a place over n features, σ² its mean with the features' mean left in.

    Of n Gaussian terms, their mean taken out, it is 1 - 3/n: s² varies by 2/n, as a gamma variable, and is 1/n less. Of
    a sum of independent terms, shares w of it, those that come from a norm have one length and no mean: of 2/n is left
    1 - Σ w², of 1/n 1 - Σ w. By what lengths vary beyond that, v, as a lognormal variable, E[1/s²] is 1 + v larger.
    """
    shares = [share for share, part in _shares(x) if _is_of_one_length(part)]
    fresh, mean = 2 / n * max(1 - sum(w * w for w in shares), 0.0), max(1 - sum(shares), 0.0) / n
    v = 0.0 if field is None else max(float(field.by_lag.flat[0]) - fresh, 0.0)
    return max(1 - fresh - mean, LEAST) / (1 + v)


def _shares(x: Signal) -> list[tuple[float, Signal]]:
    """Return the signals that one is a sum of, with the share of its second moment that each has."""
    whole = max(float(x.moments.q.mean()), 1e-300)
    parts = x.parts or ((x, 1.0),)
    return [(factor**2 * float(part.moments.q.mean()) / whole, part) for part, factor in parts]


def _is_of_one_length(x: Signal) -> bool:
    """Whether each place of a signal is what a norm of it alone gives."""
    wave = x.wave
    return wave is not None and wave.gaussian and wave.source is not None and wave.source.of_one_length


def in_common(before: Field, after: Field, n: int) -> Array:
    """Return by how much less is left of what gradients of two places have in common than of their squares.

    [2, *lags], of an example and of two, given the field of what a norm is given and of what it makes of it.
    """
    lengths = np.log1p(np.maximum(before.by_lag, -0.5))  # covariances of logs
    own, other = (lengths - lengths.flat[0]) / 4, np.full(before.sizes, -lengths.flat[0] / 4)
    alike = (
        np.exp(apart) * (1 - (3 - k) / n) / (1 - 2 / n)
        for apart, k in ((own, 1 - after.within), (other, 1 - after.across))
    )
    return np.stack(list(alike))


def thinned(m: Moments, left: Array, batch: Batch) -> Moments:
    """Return the moments of a gradient of which so much is left of what two places have in common, [2, *lags]."""
    field = m.field
    if field is None or field.sizes != left.shape[1:]:
        return m
    within, across = (1 - (1 - gap) * x for gap, x in zip((field.within, field.across), left, strict=True))
    within.flat[0] = 0.0
    d = m.d + batch.off_diagonal((1 - left[1].flat[0]) * ((m.q[:, None] + m.q) / 2 - m.d))
    products = each_pair.thinned(field.products, left)
    field = replace(field, within=within, across=across, products=products, in_all=None)
    return replace(m, d=d, field=field)
