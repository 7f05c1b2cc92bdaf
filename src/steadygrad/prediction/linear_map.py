"""How moments pass a product with a matrix of independent entries: y = W x + b."""

from __future__ import annotations

import numpy as np

from .batch import Batch
from .field import Field
from .source import Source
from .spread import CERTAIN, Noises, Spread, within_bounds
from .values import Array, Fill, Moments


def forward(
    x: Moments, weight: Fill, bias: Fill | None, *, terms: float, units: float, batch: Batch, noises: Noises
) -> Source:
    """Return the Gaussian source that `units` sums over `terms` inputs are.

    E[y y'] = Var(w) Σ x x' + Var(b); the weights' mean adds the same to every unit. As the sum of many independent
    terms a unit is Gaussian: exact for Gaussian weights, else up to the inverse of `terms`.
    """
    gain = weight.variance * terms
    bias_mean, bias_variance = (bias.mean, bias.variance) if bias else (0.0, 0.0)
    common = weight.mean**2 * terms * np.maximum(x.q - x.mean**2, 0.0)
    variance = gain * x.q + bias_variance + common
    mean = weight.mean * terms * x.mean + bias_mean
    std = np.sqrt(variance)
    gap = correlation_gap((gain + weight.mean**2 * terms) * x.d, std)
    share = float((gain * x.q).mean() / max((variance + mean**2).mean(), 1e-300))
    spilled = batch.bounded(x.excess, x.product, x.q) * share**2
    own = _unit_variance(mean, std, gap, bias, batch) + 2 * batch.pair_mean(spilled)
    field = x.field.scaled(share) if x.field else None
    alike = field.overlap(batch.size) if field else 1.0
    own *= alike
    before = x.spread.scaled(share)
    free = _free(weight, terms, units)
    excess = spilled + free * blurring(batch.overlap(x) * alike) / units
    kept = (1 - free) * min(2 * share**2 * batch.overlap(x) * alike, own)  # what a bias adds is free
    noise = noises.fresh((own - kept) / units)
    kurtosis = -6 / (max(terms, units) + 2) if weight.form == "orthogonal" else 0.0
    return Source(mean, std, gap, units, before, noise, own, excess, field=field, free=free, kurtosis=kurtosis)


def _free(weight: Fill, terms: float, units: float) -> float:
    """Return how free the squared length of a product is, relative to a matrix of independent entries.

    Orthonormal columns keep it; of `terms` directions a matrix with orthonormal rows keeps `units`, and the squared
    length of a part has the variance 2/units - 2/terms.
    """
    return max(1 - units / terms, 0.0) if weight.form == "orthogonal" else 1.0


def correlation_gap(d: Array, std: Array) -> Array:
    """Return 1 - corr from half the mean squared differences and the deviations; 0 where nothing varies."""
    size = np.outer(std, std)
    uneven = (std[:, None] - std) ** 2 / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(size > 0, (d - uneven) / size, 0.0)
    return np.clip(gap, 0.0, 2.0)


def _unit_variance(mean: Array, std: Array, gap: Array, bias: Fill | None, batch: Batch) -> float:
    """Return the variance over units of the batch-averaged square, relative to its mean squared."""
    product = np.outer(std, std) * (1 - gap)
    fourth = 2 * product**2 + 4 * np.outer(mean, mean) * product
    excess = (bias.kurtosis - 3) * bias.variance**2 if bias else 0.0
    q = float((std**2 + mean**2).mean())
    return max(batch.pair_mean(fourth) + excess, 0.0) / (q * q) if q * q > 0 else 0.0


def backward(
    g: Moments,
    weight: Fill,
    source: Source | None,
    *,
    terms: float,
    units: float,
    batch: Batch,
    noises: Noises,
    widening: float | None = None,
    places: int = 1,
) -> Moments:
    """Return the moments of W^T g: `units` sums over `terms` gradients; `source` is what went forward through W.

    For J behind the layer, |J W x|² and |W^T J^T g|² share W: their relative covariance is 2 a/units, where a is the
    alignment |J J^T g|²/(|J|² |J^T g|²), which grows as the network behind loses rank. And W x = z is given: where g
    lies along z, by the squared cosine `along`, W^T g is larger than for a W that knows nothing of x. `widening` is how
    many entries of an example W makes of one, terms/units where it has no other positions; `places` how many positions
    its outcome W^T g has.
    """
    along = min(g.along * (terms / units if widening is None else widening), 1.0)
    free = _free(weight, terms, units)
    pull = 1 + min(free, 1.0) * (along - 1 / (units * places)) if source else 1.0  # what keeps lengths keeps them
    gain = (weight.variance * pull + weight.mean**2) * terms
    overlap = batch.overlap(g) * (g.field.overlap(batch.size) if g.field else 1.0)
    lift = weight.mean**2 * terms * (terms - 1)
    q = gain * g.q + lift * g.mean**2
    d = gain * g.d + lift * (g.mean[:, None] - g.mean) ** 2 / 2
    noise = _matrix_noise(overlap, g.alignment, source, units, noises) if free else CERTAIN
    spread = g.spread.plus(noise).modulated(2 / units, along if source else 0.0)
    excess = g.excess + free * blurring(overlap) / units
    alignment = g.alignment + free * blurring(g.alignment) / units
    field = g.field.blurred(units / free, batch.size) if g.field and free else g.field
    return Moments(weight.mean * terms * g.mean, q, d, spread, 2 * overlap, excess, alignment, along / pull, field)


def _matrix_noise(overlap: float, alignment: float, source: Source | None, units: float, noises: Noises) -> Spread:
    variance = 2 * overlap / units
    if source is None or source.own_variance <= 0:
        return noises.fresh(variance)
    known = source.own_variance / source.units
    share = 2 * alignment / units / known
    share = within_bounds(share, variance, known) if source.field is not None else share
    return noises.sharing(variance, source.noise, known, share)


def blurring(overlap: float) -> float:
    """Return by how much a Gaussian layer raises the overlap, per unit: (1 + 2r)(1 - r).

    For products K and squares q of two examples, over N units, E[K'²] = K² + (q q' + K²)/N and E[q q'] gains 2 K²/N;
    their ratio r gains (1 + r - 2 r²)/N.
    """
    return (1 + 2 * overlap) * (1 - overlap)


def weight_gradient(g: Moments, x: Moments, batch: Batch) -> float:
    """Return the second moment of Σ_bt g_bt x_bt over examples and positions, an entry of the weight's gradient."""
    met = batch.size**2 * max(batch.pair_mean(g.product * x.product), 0.0)  # a mean of products of estimates
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
    return size * ((1 - own_g) * (1 - own_x) + (batch.size - 1) * (1 - other_g) * (1 - other_x))


def _apart(m: Moments, batch: Batch) -> tuple[float, float]:
    """Return by how much distinct positions differ, within an example and across two."""
    if m.field is not None:
        return m.field.apart()
    alone = 1 - float((m.mean**2).mean()) / max(float(m.q.mean()), 1e-300)
    return alone, alone
