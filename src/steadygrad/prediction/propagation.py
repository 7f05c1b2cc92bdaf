"""How moments pass a function of a Gaussian source, forward and backward, and the spread that the function adds.

Per unit, X = mean over the batch of f(z_b)² has relative variance total = mean over pairs of Cov(f², f'²)/E[f²]². What
the source's own spread explains of it is s² own, s = d log E[f²]/d log Var(z); the rest is a noise of its own, of
variance (total - s² own)/units. For He-ReLU at c = 1: own 2, s 1, total 5, as in oracle-free form 5/n a layer.
"""

from __future__ import annotations

import numpy as np

from .batch import Batch
from .linear_map import blurring
from .source import Source, Wave, mean_of, sensitivity
from .spread import CERTAIN, Noises, Spread
from .values import Array, Moments


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 0.0


def forward(wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z)."""
    source, f = wave.source, wave.values
    if source is None:
        return constant(f, batch)
    q = source.rows(mean_of(f**2))
    mean = source.rows(mean_of(f))
    if wave.gaussian:
        return Moments(mean, q, source.difference(f), source.spread, source.own_variance, source.excess)
    total = _ratio(batch.pair_mean(source.covariance(f**2, f**2)), float(q.mean()) ** 2)
    s = sensitivity(f)
    extra = max(total - s * s * source.own_variance, 0.0)
    noise = noises.fresh(extra / source.units)
    if source.first is None:
        source.first = (noise, extra, f**2 / max(float(q.mean()), 1e-300))
    d = source.difference(f)
    return Moments(mean, q, d, source.spread.scaled(s).plus(noise), total, _forward_excess(source, q, d, total, batch))


def _forward_excess(source: Source, q: Array, d: Array, total: float, batch: Batch) -> Array | float:
    """Return the excess of f(z): that of z through the slope of the correlation map, and what the units add."""
    mean_gap, mean_d = batch.pair_mean(source.gap), batch.pair_mean(d) / max(float(q.mean()), 1e-300)
    kept = _ratio(mean_d, mean_gap) ** 2
    overlap = _ratio(batch.pair_mean(((q[:, None] + q) / 2 - d) ** 2), float(q.mean()) ** 2)
    blur = (total + 1) * (1 - min(overlap, 1.0)) - kept * blurring(min(source.own_variance / 2, 1.0))
    return source.excess * kept + max(blur, 0.0) / source.units


def constant(f: Array, batch: Batch) -> Moments:
    """Return the moments of a tensor whose entries are all the same number."""
    ones = np.ones(batch.followed)
    return Moments(ones * float(f.mean()), ones * float((f**2).mean()), np.zeros((len(ones), len(ones))), CERTAIN)


def backward(base: Moments, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of g h(z), for a gradient g taken as independent of z (gradient independence)."""
    source, h = wave.source, wave.values
    if source is None:
        return scaled(base, float(h.mean()))
    q_h, d_h = source.rows(mean_of(h**2)), source.difference(h)
    d = _product_difference(base, q_h, d_h)
    q = base.q * q_h
    mean = base.mean * source.rows(mean_of(h))
    spread, total, excess = _backward_spread(base, source, h, q_h, batch, noises)
    alignment = _aligned(base.alignment, source, h, total, batch.overlap(base))
    return Moments(mean, q, d, spread, total, excess, alignment, base.along)


def _aligned(alignment: float, source: Source, h: Array, total: float, overlap: float) -> float:
    """Return the alignment behind a function: blurred as the overlap is, by E[h⁴]/E[h²]² = (total + 1)/(1 + 2 r)."""
    fourth = (total + 1) / (1 + 2 * overlap)
    return min(alignment + max(fourth - 1, 0.0) * blurring(alignment) / source.units, 1.0)


def scaled(base: Moments, factor: float) -> Moments:
    """Return the moments of a tensor times a number."""
    square = factor * factor
    return Moments(
        base.mean * factor,
        base.q * square,
        base.d * square,
        base.spread,
        base.unit_variance,
        base.excess,
        base.alignment,
        base.along,
    )


def _product_difference(base: Moments, q_h: Array, d_h: Array) -> Array:
    """Return d of g h from those of g and h: no term cancels where both are nearly equal for two examples."""
    q_g, d_g = base.q, base.d
    mean_g, mean_h = (q_g[:, None] + q_g) / 2, (q_h[:, None] + q_h) / 2
    uneven = (q_g[:, None] - q_g) * (q_h[:, None] - q_h) / 4
    return np.asarray(mean_g * d_h + mean_h * d_g - d_g * d_h + uneven)


def _backward_spread(
    base: Moments, source: Source, h: Array, q_h: Array, batch: Batch, noises: Noises
) -> tuple[Spread, float, Array | float]:
    q = base.q * q_h
    size, flat = float(q.mean()) ** 2, np.outer(base.q, base.q)
    overlap = batch.overlap(base)
    square = source.covariance(h**2, h**2) + np.outer(q_h, q_h)
    fourth = square * (flat + 2 * base.product**2 + 2 * batch.off_diagonal(base.excess) * flat)
    total = max(_ratio(batch.pair_mean(fourth - np.outer(q, q)), size), 0.0)
    agreed = ((q_h[:, None] + q_h) / 2 - source.difference(h)) ** 2 / max(float(q_h.mean()) ** 2, 1e-300)
    kept = batch.pair_mean(agreed)
    blur = (total + 1) * (1 - overlap * kept) - kept * blurring(overlap)
    excess = base.excess * agreed + max(blur, 0.0) / source.units
    spread = _added(base, source, h, total, batch, noises)
    return spread.modulated(2 * ((total + 1) / (1 + 2 * overlap) - 1) / source.units), total, excess


def _added(base: Moments, source: Source, h: Array, total: float, batch: Batch, noises: Noises) -> Spread:
    """Return the spread of g h: that of g, of the source through h, of the forward noise that it shares, and its own."""
    s = sensitivity(h)
    extra = max(total - base.unit_variance - s * s * source.own_variance, 0.0)
    spread = base.spread.plus(source.spread.scaled(s))
    if source.first is not None and source.first[1] > 0:
        noise, variance, square = source.first
        q_h = source.rows(mean_of(h**2))
        joint = _ratio(batch.pair_mean(source.covariance(h**2, square)), float(q_h.mean()))
        aligned = 2 * base.alignment * joint
        share = (joint + aligned - s * sensitivity(np.sqrt(square)) * source.own_variance) / variance
        return spread.plus(noises.sharing(extra / source.units, noise, variance / source.units, share))
    return spread.plus(noises.fresh(extra / source.units))
