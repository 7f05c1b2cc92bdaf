"""How moments pass a function of a Gaussian source going forward, and the spread that the function adds.

Per unit, X = mean over the batch of f(z_b)² has relative variance total = mean over pairs of Cov(f², f'²)/E[f²]². What
the source's own spread explains of it is s² own, s = d log E[f²]/d log Var(z); the rest is a noise of its own, of
variance (total - s² own)/units. For He-ReLU at c = 1: own 2, s 1, total 5, the 5/n a layer of Hanin and Rolnick 2018.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from . import gram_of_sums, in_all, layout, mean_of_all, of_mean, parting_of_places
from .batch import Batch
from .curve import Curve, passed, skewed
from .decays import decayed
from .field import Field
from .gram import Gram
from .hermite import Expansion, at_scales, decay, expand, over_rows, tables
from .linear_map import blurring, correlation_gap
from .overlap import of_typical
from .parting import parted, sampled
from .passage import Passage
from .source import Onward, Source, Wave, at_both, of_fourth_cumulant, sensitivity
from .sphere import coordinate, of_normed
from .spread import CERTAIN, Noises, Spread, log_mean
from .trail import Trail, begun, bends, of_units
from .uneven_means import beside_means
from .values import Array, Moments

FLAT = 1000  # dimensions from which a coordinate's E[z⁴] is within 0.2% of a Gaussian's: 3k/(k + 2)
STEP = 0.01  # of a correlation, over which the slope of its map is taken


def quotient(above: float, below: float) -> float:
    """Return a ratio; 0 where nothing is below."""
    return above / below if below > 0 else 0.0


def average(values: Array) -> float:
    """Return the mean of a vector."""
    return float(values.sum()) / len(values)


def forward(wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z)."""
    source = wave.source
    if source is None:
        return constant(wave.values, batch)
    if wave.gaussian:
        return _of_units(source, source.mean, source.std**2 + source.mean**2, _apart(source), batch, noises)
    f = expand(wave.values)
    rounded = on_sphere(source, wave.values)
    q, mean, d = source.rows(f.q) * rounded, source.rows(f.mean), source.difference(f) * rounded
    found = Moments(mean, q, d, CERTAIN)
    if source.plain:
        return _forward(found, source, f, wave, batch, noises)
    if source.lone:
        return _rotated(found, source, f, wave, batch, noises)
    return _kept(found, source, f, wave, batch, noises)


def _apart(source: Source) -> Array:
    """Return half the mean squared difference of the units of every two examples."""
    lengths, means = (x[:, None] - x for x in (source.std, source.mean))
    return np.asarray((lengths**2 + means**2) / 2 + np.outer(source.std, source.std) * source.gap)


def _forward(m: Moments, source: Source, f: Expansion, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z) with how they vary over draws."""
    q, d = m.q, m.d
    squares = source.covariance(f, f, source.settled) * quotient(1.0, average(q) ** 2)
    squares = squares + _of_biases(source, wave.values)
    whole = batch.pair_mean(squares)
    total, apart = max(whole, 0.0), batch.alone(squares * average(q) ** 2, q)
    s = sensitivity(f)
    further = s * s * noises.covariance(source.before, source.before)[1]
    heavier = (batch.concentration(further) - batch.gathered(further)) * apart
    total += batch.gathers(further) * apart
    extra, total = max(total - s * s * source.gaussian_variance, 0.0), max(total + s * s * source.tails, 0.0)
    alone = max(apart - s * s * source.own_apart, 0.0)
    shared, own = noises.fresh(extra / source.units), noises.own(alone / source.units)
    noise = shared.plus(own)
    source.onward = Onward(wave.values, f, shared, extra, own, alone, wave.far)
    curve = passed(wave.values, average(f.q), source.before, noises, batch)
    added = source.noise.centred.scaled(s).plus(noise.centred)
    third = skewed(curve.bent, curve.slope * noises.covariance(source.before, source.before)[0])
    spread = curve.of(source.before).plus(added).shifted(log_mean((total + heavier) / source.units), third)
    spread = replace(spread, trail=_trail(source, wave, curve, s, (total, apart), noise, batch, noises))
    found = Moments(m.mean, q, d, spread, total, unit_apart=apart)
    if source.parting is not None and not source.settled and q.any() and np.any(source.gap):
        return _parted(found, source, f, wave.values, max(whole, 0.0), batch, noises)
    return replace(found, excess=_forward_excess(source, f, m.product, q, total - apart / batch.size, batch, noises))


def _parted(
    m: Moments, source: Source, f: Expansion, values: Array, total: float, batch: Batch, noises: Noises
) -> Moments:
    """Return the moments with how far examples are apart; what of d are lengths is no angle, and stays."""
    s, lengths = sensitivity(f), noises.covariance(source.before, source.before)[1]
    parting, further = parted(source, f, values, total, s, lengths, batch)
    parting = parting.lengthened(noises.covariance(m.spread, m.spread)[1], s, source, noises)
    std = np.sqrt(m.q)
    of_lengths = (std[:, None] - std) ** 2 / 2
    d = np.minimum(of_lengths + np.maximum(m.d - of_lengths, 0.0) * further, m.q[:, None] + m.q)
    return replace(m, d=d, parting=parting, excess=parting.cosine.beyond(correlation_gap(d, std), batch))


def _rotated(m: Moments, source: Source, f: Expansion, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z) behind an orthogonal matrix.

    It keeps products of examples, the second order of f² among them, which is s times the log of what went in: of a
    sphere's mean square, whose log has that as its own, only the other orders are fresh.
    """
    s = sensitivity(f)
    extra, alone, total, apart = _beside_squares(source, f, wave, m.q, s, batch)
    shared, own = noises.fresh(extra / source.units), noises.own(alone / source.units)
    noise = shared.plus(own)
    source.onward = Onward(wave.values, f, shared, extra, own, alone, wave.far)
    curve = passed(wave.values, average(f.q), source.before, noises, batch)
    freed, freed_apart = (s * s * x for x in source.fresh)
    further = s * s * noises.covariance(source.before, source.before)[1]
    fresh = extra + freed + batch.gathers(further) * alone
    heavier = (batch.concentration(further) - batch.gathered(further)) * alone
    third = skewed(curve.bent, curve.slope * noises.covariance(source.before, source.before)[0])
    spread = curve.of(source.before).plus(source.noise.centred.scaled(s).plus(noise.centred))
    spread = spread.shifted(log_mean((fresh + heavier) / source.units), third)
    trail = _trail(source, wave, curve, s, (fresh, alone + freed_apart), noise, batch, noises)
    spread, excess = replace(spread, trail=trail), _excess_by_slope(source, m, total, batch)
    return replace(m, spread=spread, unit_variance=total, unit_apart=apart, excess=excess)


def _beside_squares(
    source: Source, f: Expansion, wave: Wave, q: Array, s: float, batch: Batch
) -> tuple[float, float, float, float]:
    """Return what f² of a unit varies by beside squares and products of units, over the batch and of one example.

    And what it varies by in all.
    """
    size = average(q) ** 2
    rest = source.covariance(f, f, source.settled, without=2)
    squares = rest + source.of_squares(f) + _of_biases(source, wave.values) * size
    total, apart = max(quotient(batch.pair_mean(squares), size), 0.0), batch.alone(squares, q)
    if source.varies:
        return max(total - s * s * source.own_variance, 0.0), max(apart - s * s * source.own_apart, 0.0), total, apart
    return max(quotient(batch.pair_mean(rest), size), 0.0), max(batch.alone(rest, q), 0.0), total, apart


def _trail(
    source: Source,
    wave: Wave,
    curve: Curve,
    s: float,
    own: tuple[float, float],
    noise: Spread,
    batch: Batch,
    noises: Noises,
) -> Trail | None:
    """Return the trail of f(z), begun where the first function bends; `own`: relative variances of a unit's square."""
    if source.trail is None:
        if not bends(source, curve, noises):
            return None
        source.trail = begun(source.before, batch, noises)
    mean = (own[0] + own[1] * (1 - 1 / batch.size)) / source.units / 2
    return Passage(curve, s, noise.centred, mean).of(source, wave, batch, noises)


def _kept(m: Moments, source: Source, f: Expansion, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the same beside positions, and behind an orthogonal matrix: in powers of the size that came in."""
    total, s = _squares_vary(source, f, average(m.q), batch), sensitivity(f)
    total += _of_lengths(source, f)
    total += _of_biases_everywhere(source, f, wave.values, batch)
    extra = _extra(source, f, total, s, batch)
    noise = noises.fresh(extra / source.units)
    source.onward = Onward(wave.values, f, noise, extra)
    excess = _excess_by_slope(source, m, total, batch)
    own = max(total + s * s * source.tails, 0.0)
    m = replace(m, spread=source.spread.scaled(s).plus(noise), unit_variance=own, excess=excess)
    if source.field is None:
        return m
    field, level = uneven(source, wave.values, field_through(source, f, s))
    lengths, together = _of_squares(source, f, batch)
    field = replace(field, means=None, lengths=field.by_lag + lengths, together=field.together + together)
    known = mean_of_all.behind_function(source, centred(source), field, wave.values, average(f.q))
    field = replace(field, gram=_gram_behind(source, wave), in_all=known)
    m = replace(m, q=m.q * level, d=m.d * level, field=_beyond(source, field, total, batch))
    return _parted_over_places(m, source, f, wave.values, total, s, batch)


def _gram_behind(source: Source, wave: Wave) -> Gram | None:
    """Return the products of every two places of a few small images behind a function."""
    assert source.field is not None
    if source.field.gram is None:
        return None
    row, square = len(wave.values) // 2, float((source.mean**2).mean())
    whole, one = square + float((source.std**2).mean()), float(source.std[row if len(wave.values) > 1 else 0])
    if not (whole > 0 and one > 0):
        return None
    varied = source.field.parted.variance if source.field.parted else 0.0
    found = source.field.gram.behind(wave.values[row], square / whole, whole**0.5 / one, source.units, varied)
    terms = [t.source.field for t in source.terms[:2] if t.source and t.source.field] if source.terms else []
    grams = [field.gram for field in terms if field.gram is not None]
    if source.terms is None or len(grams) < 2:
        return found
    x, y, _ = source.terms
    return gram_of_sums.behind(found, lambda a, b: at_both(wave, x, y, (a, b)), *grams)


def _parted_over_places(
    m: Moments, source: Source, f: Expansion, values: Array, total: float, s: float, batch: Batch
) -> Moments:
    """Return the moments with how far examples are apart at each place, and by their lengths there."""
    assert source.field is not None
    assert m.field is not None
    if source.field.parted is None or not m.q.any() or not np.any(source.gap):
        return replace(m, field=replace(m.field, parted=None))
    gap, row, share = batch.distinct_mean(source.gap), values[len(values) // 2], source.field.share
    gaps = source.field.parted.gaps(share, gap)
    parted, further = parting_of_places.behind(centred(source), (gap, gaps), f, row, total, s, source.units, batch)
    square = float((source.mean**2).mean())
    found = layout.behind(share, gaps, gap, row, square / max(square + float((source.std**2).mean()), 1e-300))
    if found:
        parted = parted.laid_out(m.field.share, np.minimum(found[1] * further, 2.0))
        further *= found[0]
    std = np.sqrt(m.q)
    of_lengths = (std[:, None] - std) ** 2 / 2
    d = np.minimum(of_lengths + np.maximum(m.d - of_lengths, 0.0) * further, m.q[:, None] + m.q)
    return replace(m, d=parted.whole(d, m.q, batch), field=replace(m.field, parted=parted))


def _of_squares(source: Source, f: Expansion, batch: Batch) -> tuple[Array, Array]:
    """Return by lag how squared lengths of places of f(z) vary by the units' own squares, and the batch's mean ones."""
    masses = (f.square**2).mean(0)
    masses[: 3 if source.of_one_length else 1] = 0.0
    z = centred(source)
    own, other = (np.maximum(x, 0.0) for x in z.covariances(masses / max(float((f.q**2).mean()), 1e-300)))
    return own / source.units, z.averaged((own, other), batch.size) / source.units


def _of_lengths(source: Source, f: Expansion) -> float:
    """Return by how much a unit's mean square varies with which side its long places lie on.

    The first order of f(w z)² is a(w) = E[f(w z)² z], and Σ w z = 0 behind a norm: what a(w)/w varies by is left, by
    d log a/d log w - 1 = √6 times the third order over the first.
    """
    third = float((f.square[:, 3] ** 2).mean())
    return quotient(6 * third * source.lopsided, float((f.q**2).mean()))


def _of_biases(source: Source, values: Array) -> Array:
    """Return what the fourth cumulant of biases adds to the covariances of squares, of Gaussian units else.

    A bias is one number for all examples, so it adds as much to those of two as to those of one.
    """
    if not source.fourth:
        return np.zeros_like(source.gap)
    return np.full_like(source.gap, source.fourth * of_fourth_cumulant(values))


def _of_biases_everywhere(source: Source, f: Expansion, values: Array, batch: Batch) -> float:
    """Return the same, the mean over places too, of which all have one bias.

    Of E[f²(z) f²(z')], κ the fourth joint cumulant, the second derivatives of both have κ E[(f²)''/2]² whatever z and
    z' have in common: all of it, where f is a line. The rest goes as they do.
    """
    if not source.fourth:
        return 0.0
    own = float(over_rows(f.square[:, 2:3] ** 2)[0]) / (2 * max(average(f.q) ** 2, 1e-300))
    rest = batch.pair_mean(_of_biases(source, values)) / source.fourth - own * batch.pair_mean((1 - source.gap) ** 2)
    return source.fourth * (own + rest * _alike(source, f, batch))


def squares_vary(wave: Wave, batch: Batch) -> float:
    """Return the relative variance of one unit's square, averaged over the batch and positions."""
    assert wave.source is not None
    f = expand(wave.values)
    return _squares_vary(wave.source, f, average(wave.source.rows(f.q)), batch)


def _squares_vary(source: Source, f: Expansion, q: float, batch: Batch) -> float:
    return quotient(batch.pair_mean(source.covariance(f, f, source.settled)), q**2) * _alike(source, f, batch)


def _extra(source: Source, f: Expansion, total: float, s: float, batch: Batch) -> float:
    """Return the variance of a unit's mean square that the source's own does not explain.

    What an orthogonal matrix keeps, the products of its units, is the second order.
    """
    if source.varies:
        return max(total - s * s * source.gaussian_variance, 0.0)
    rest = batch.pair_mean(source.covariance(f, f, source.settled, without=2))
    return max(quotient(rest, average(source.rows(f.q)) ** 2), 0.0)


def on_sphere(source: Source, values: Array) -> float:
    """Return E[f²] of units with a kurtosis of their own, relative to Gaussian ones: 1 + κ E[f² He₄]/(24 E[f²]).

    The first term of the Edgeworth series; for a linear f it is 1, as the second moment is what it is. A coordinate on
    a sphere of k dimensions and radius √k has a density of its own, proportional to (1 - z²/k)^((k - 3)/2).
    """
    if source.kurtosis == 0 and source.sphere > FLAT:
        return 1.0
    z, w = tables()[:2]
    square = (values**2).mean(0)
    gaussian = float(square @ w)
    if source.kurtosis == 0:
        at, weights = coordinate(round(source.sphere, 1))
        found = quotient(float(np.mean([np.interp(at, z, row) ** 2 @ weights for row in values])), gaussian)
        return found if source.normed is None else found / of_normed(source.normed, square, (at, weights))
    fourth = float(square @ (w * (z**4 - 6 * z**2 + 3)))
    return max(1 + source.kurtosis / 24 * quotient(fourth, gaussian), 0.0)


def _of_units(source: Source, mean: Array, q: Array, d: Array, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of the units themselves."""
    field = source.field
    if field is not None and source.free > 0:
        field = field.blurred(source.units / source.free, batch.size)
    if field is not None and field.parted is not None and source.field is not None:
        # As the field's, relative to the second moment: beside a mean, which all have, little of a length differs.
        gap = batch.distinct_mean(source.gap) * quotient(float((source.std**2).mean()), average(q))
        parted, further = parting_of_places.of_units(source.field, gap, source.fourth, source.units, batch)
        d, field = parted.whole(d * further, q, batch), replace(field, parted=parted)
    if field is not None and field.gram is not None:
        field = replace(field, gram=field.gram.of_units(source.units))
    own, excess, apart = source.own_variance, source.excess, source.own_apart
    parting = sampled(source, batch) if source.parting is not None else None
    spread = source.spread
    if source.trail is not None:
        spread = replace(spread, trail=of_units(source, batch, noises))
    return Moments(mean, q, d, spread, own, excess, field=field, unit_apart=apart, parting=parting)


def _alike(source: Source, f: Expansion, batch: Batch) -> float:
    """Return what is left of the covariance of squares, averaged over positions too."""
    if source.field is None:
        return 1.0
    masses = (f.square**2).mean(0)
    masses[: source.settled + 1] = 0.0
    return centred(source).average(masses, batch.size)


def centred(source: Source) -> Field:
    """Return how positions of z differ beside their mean, relative to their variance."""
    assert source.field is not None
    variance = float((source.std**2).mean())
    if variance <= 0:
        return source.field
    factor = (variance + float((source.mean**2).mean())) / variance
    field = source.field.mapped(lambda gap: np.minimum(gap * factor, 2.0))
    known = in_all.beside(source.field.in_all, factor)
    return replace(field, beyond=np.minimum(field.beyond * factor**2, 1.0), in_all=known)


def field_through(source: Source, f: Expansion, power: float) -> Field:
    """Return how positions of f(z) differ, by the differences of z; `power` is how f's size grows with that of z."""
    masses = (f.plain**2).mean(0) / max(float(f.q.mean()), 1e-300)
    z = centred(source)
    alike = z.shaped(np.ones(z.sizes)).mapped(lambda gap: decayed(gap, masses))
    field = alike.shaped(z.share).powered(power)
    return of_mean.behind(field, z, _slope(z.apart()[0], masses)) if z.of_mean is not None else field


def _slope(gap: float, masses: Array) -> float:
    """Return dK/dc of the correlation map K(c) = sum_n masses_n c^n at c = 1 - gap."""
    below, above = decayed(np.clip([gap - STEP, gap + STEP], 0.0, 2.0), masses)
    return float(above - below) / (2 * STEP)


def uneven(source: Source, values: Array, field: Field, *, of_gradient: bool = False) -> tuple[Field, float]:
    """Return the field of f(z) with the second moment that each position has, and their mean relative to f's own.

    A position whose variance is s times the mean has E[f(√s z)²]. Going back a gradient that was told beforehand what
    places have in common through f (chosen.py) is multiplied by that of places that are alike.
    """
    assert source.field is not None
    share = source.field.share
    if not np.ptp(share):
        return field, 1.0
    square, variance = float((source.mean**2).mean()), float((source.std**2).mean())
    some, back = np.unique(np.round(share, 3), return_inverse=True)
    scales = np.sqrt(np.maximum(some * (square + variance) - square, 0.0) / max(variance, 1e-300))
    squares, means = (at_scales(x, np.append(scales, 1.0)) for x in ((values**2).mean(0), values.mean(0)))
    found, middle = (x[:-1][back].reshape(share.shape) for x in (squares, means))
    mean = float(found.mean())
    if not (mean > 0 and squares[-1] > 0):
        return field, 1.0
    if of_gradient:
        return field.shaped(found / mean), mean / float(squares[-1])
    uniform = float(means[-1]), float(squares[-1])
    return beside_means(field, middle, found, uniform), mean / uniform[1]


def _beyond(source: Source, field: Field, total: float, batch: Batch) -> Field:
    """Return the field of f(z) with what products of two places vary by, as `_forward_excess` says of two examples."""
    before = centred(source)
    kept = min(quotient(field.gap(batch.size), before.gap(batch.size)) ** 2, 1.0)
    spilled = replace(field, beyond=kept * before.beyond)
    return raised_by_units(spilled, total, source.units, batch)


def raised_by_units(field: Field, total: float, units: float, batch: Batch) -> Field:
    """Return a field with what so many units of this relative variance add to what products of two places vary by."""
    blur = (total + 1) * (1 - field.overlap_of_all(batch.size))
    return field.raised(max(blur, 0.0) / units)


def blur_of(m: Moments, units: float, batch: Batch) -> float:
    """Return what so many units of a signal have added to what its products of two places vary by.

    Of the overlap r they made r + s (1 - r), s = (1 + total)/units.
    """
    share = (m.unit_variance + 1) / units
    if m.field is None or share >= 1:
        return min(share, 1.0)
    return share * (1 - m.field.overlap_of_all(batch.size)) / (1 - share)


def _excess_by_slope(source: Source, m: Moments, total: float, batch: Batch) -> Array | float:
    """Return the excess of f(z): that of z through the slope of the correlation map, and what the units add."""
    size, product = average(m.q), m.product
    kept = quotient(quotient(batch.pair_mean(m.d), size), batch.pair_mean(source.gap)) ** 2
    spilled = batch.bounded(source.excess * kept, product, m.q)
    overlap = quotient(batch.pair_mean(product**2), size * size) + batch.pair_mean(spilled)
    blur = (total + 1) * (1 - min(overlap, 1.0)) - kept * blurring(min(source.own_variance / 2, 1.0))
    return batch.bounded(spilled + max(blur, 0.0) / source.units, product, m.q)


def _forward_excess(
    source: Source, f: Expansion, product: Array, q: Array, shared: float, batch: Batch, noises: Noises
) -> Array | float:
    """Return the excess of f(z): that of the covariances of z through the correlation map, and what the units add.

    A correlation that varies is taken at two values (`two_gaps`). The units add M (1 - r)/N to the ratio r of
    E[(x·y)²] and E[x² y²], M = 1 + `shared` = E[f² f'²]/E[f²]² of two examples, and in a typical draw the part that is
    as large as it is for Gaussian units, of M = 1 + 2r.
    """
    size = average(q)
    if len(q) < 2 or size <= 0:
        return 0.0
    gaps, chances = two_gaps(source, batch)
    masses = over_rows(f.plain**2)
    here, *apart = (1 - decay(gaps) @ masses / masses.sum()) ** 2
    spilled = max(float(chances @ apart) - float(here), 0.0)
    ratio = min(batch.distinct_mean(product**2) / (size * size) + spilled, 1.0)
    weight = batch.concentration(noises.covariance(source.spread, source.spread)[1])
    typical = of_typical(batch.distinct_mean(product) / size, ratio, weight)
    return batch.bounded(spilled + typical * (1 + shared) * (1 - ratio) / source.units, product, q)


def two_gaps(source: Source, batch: Batch) -> tuple[Array, Array]:
    """Return 1 - c of two examples, then two values of mean and variance as over draws, with their probabilities.

    They lie evenly about the mean, unless the upper correlation would be beyond 1: then it is 1.
    """
    gap = min(batch.distinct_mean(source.gap), 2.0)
    varied = max(batch.distinct_mean(batch.off_diagonal(source.before_excess)), 0.0)
    variance = source.parting.cosine.variance if source.parting else varied
    sigma = math.sqrt(variance)
    if sigma <= gap:
        return np.array([gap, gap - sigma, min(gap + sigma, 2.0)]), np.array([0.5, 0.5])
    one = variance / (variance + gap * gap)
    return np.array([gap, 0.0, min(gap + variance / max(gap, 1e-300), 2.0)]), np.array([one, 1 - one])


def constant(f: Array, batch: Batch) -> Moments:
    """Return the moments of a tensor whose entries are all the same number."""
    ones = np.ones(batch.followed)
    return Moments(ones * float(f.mean()), ones * float((f**2).mean()), np.zeros((len(ones), len(ones))), CERTAIN)


def scaled(base: Moments, factor: float) -> Moments:
    """Return the moments of a tensor times a number."""
    square = factor * factor
    return replace(base, mean=base.mean * factor, q=base.q * square, d=base.d * square)
