"""How moments pass a product with a matrix of independent entries: y = W x + b."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from . import of_mean
from .alongside import Alongside, Step, of_examples
from .batch import Batch
from .coherent import beyond_signals
from .curve import skewed
from .field import Field
from .meeting import Meeting, Sum
from .overlap import aligning
from .parting import begun
from .parting_of_places import at_places
from .source import Source
from .spread import CERTAIN, ROUNDING, Noises, Spread, log_mean, within_bounds
from .trail import Trail, drawn_units
from .values import Array, Fill, Moments


def forward(
    x: Moments, weight: Fill, bias: Fill | None, *, terms: float, units: float, batch: Batch, noises: Noises
) -> Source:
    """Return the Gaussian source that `units` sums over `terms` inputs are.

    E[y y'] = Var(w) Σ x x' + Var(b); the weights' mean adds the same to every unit. As the sum of many independent
    terms a unit is Gaussian: exact for Gaussian weights, else up to the inverse of `terms`. Beside positions, and in an
    orthogonal matrix, moments are those of all draws, else of a typical one.
    """
    if x.field is None and weight.form == "orthogonal":
        return _rotated(_typical(x), weight, bias, terms=terms, units=units, batch=batch, noises=noises)
    if x.field is not None:
        return _kept(x, weight, bias, terms=terms, units=units, batch=batch, noises=noises)
    return _plain(_typical(x), weight, bias, terms=terms, units=units, batch=batch, noises=noises)


def _plain(
    x: Moments, weight: Fill, bias: Fill | None, *, terms: float, units: float, batch: Batch, noises: Noises
) -> Source:
    """Return the source of sums of independent weights, in a draw of a typical size."""
    mean, variance, share = _sums(x, weight, bias, terms)
    before = _beside(x.spread, share, noises)
    size = math.exp(before.mean)
    mean, std = mean * math.sqrt(size), np.sqrt(variance * size)
    gap = correlation_gap(_gain(weight, terms) * (x.d + _unaligned(x, share, noises, batch)), std)
    parting = begun(x, batch) if x.parting is None else x.parting
    parting = parting and parting.beside(share, x.spread, noises)
    spilled = parting.cosine.beyond(gap, batch) if parting else _spilled(x, share, batch)
    fourth = _of_bias(bias, mean, std)
    own, apart = _unit_variance(mean, std, gap, fourth, spilled, batch)
    tails = max(_tails(x.unit_variance, weight, share, terms), -own)
    own += tails + batch.gathers(noises.covariance(before, before)[1]) * apart
    trail = _trail(x.spread, share, before.mean, batch, noises)
    before, shared, alone = before.shifted(-before.mean), noises.fresh(own / units), noises.own(apart / units)
    excess = parting.cosine.of_units(units).beyond(gap, batch) if parting else spilled + batch.growth(x, noises) / units
    return Source(
        mean, std, gap, units, before, shared.plus(alone), own, excess, spilled, apart, parting, fourth,
        shared=shared, alone=alone, of_signal=share, tails=tails, trail=trail,
    )  # fmt: skip


def _sums(x: Moments, weight: Fill, bias: Fill | None, terms: float) -> tuple[Array, Array, float]:
    """Return mean and variance of each example's sums, and the share of their second moment that is not the bias."""
    gain = weight.variance * terms
    bias_mean, bias_variance = (bias.mean, bias.variance) if bias else (0.0, 0.0)
    common = weight.mean**2 * terms * np.maximum(x.q - x.mean**2, 0.0)
    variance = gain * x.q + bias_variance + common
    mean = weight.mean * terms * x.mean + bias_mean
    return mean, variance, float((gain * x.q).mean() / max((variance + mean**2).mean(), 1e-300))


def _gain(weight: Fill, terms: float) -> float:
    """Return by what differences of examples grow."""
    return (weight.variance + weight.mean**2) * terms


def _spilled(x: Moments, share: float, batch: Batch) -> Array:
    """Return what the products that came in vary by, beside a bias."""
    return batch.bounded(x.varying, x.product, x.q) * share**2


def _of_bias(bias: Fill | None, mean: Array, std: Array) -> float:
    """Return the fourth cumulant of a bias, relative to the second moment squared."""
    return (bias.kurtosis - 3) * bias.variance**2 / max(_mean_square(mean, std) ** 2, 1e-300) if bias else 0.0


def _trail(x: Spread, share: float, mean: float, batch: Batch, noises: Noises) -> Trail | None:
    """Return the trail of what goes in, beside a bias, relative to the size of a typical draw."""
    if x.trail is None:
        return None
    variance, apart = noises.covariance(x, x)
    varied = variance + apart * (1 - batch.concentration(apart))
    return x.trail.beside(share, varied).shifted(-mean)


def _rotated(
    x: Moments, weight: Fill, bias: Fill | None, *, terms: float, units: float, batch: Batch, noises: Noises
) -> Source:
    """Return the source that an orthogonal matrix makes, in a draw of a typical size: vectors are turned, all alike.

    Lengths and products stay as they came in, so that of a unit's square only what a bias, and directions that are left
    out, let vary does.
    """
    mean, variance, share = _sums(x, weight, bias, terms)
    before = _beside(x.spread, share, noises)
    size = math.exp(before.mean)
    mean, std = mean * math.sqrt(size), np.sqrt(variance * size)
    gap = correlation_gap(_gain(weight, terms) * size * (x.d + _unaligned(x, share, noises, batch)), std)
    spilled, fourth, free = _spilled(x, share, batch), _of_bias(bias, mean, std), _free(weight, terms, units)
    own, apart = _unit_variance(mean, std, gap, fourth, spilled, batch)
    squares = 2 * batch.overlap(x), 2 * batch.apart_of(x)
    kept, alone = ((1 - free) * min(share**2 * s, v) for s, v in zip(squares, (own, apart), strict=True))
    shared, single = noises.fresh((own - kept) / units), noises.own((apart - alone) / units)
    excess = spilled + free * blurring(batch.overlap(x)) / units
    trail = _trail(x.spread, share, before.mean, batch, noises)
    return Source(
        mean, std, gap, units, before.shifted(-before.mean), shared.plus(single), own, excess, excess, apart,
        fourth=fourth, free=free, kurtosis=-6 / (max(terms, units) + 2), of_signal=share, kept=(kept, alone),
        trail=trail,
    )  # fmt: skip


def _kept(
    x: Moments, weight: Fill, bias: Fill | None, *, terms: float, units: float, batch: Batch, noises: Noises
) -> Source:
    """Return the source with what positions, or an orthogonal matrix, leave of what its units vary by."""
    mean, variance, share = _sums(x, weight, bias, terms)
    std, fourth = np.sqrt(variance), _of_bias(bias, mean, np.sqrt(variance))
    gap, spilled = correlation_gap(_gain(weight, terms) * x.d, std), _spilled(x, share, batch)
    own, _ = _unit_variance(mean, std, gap, fourth, spilled, batch)
    field, gap = at_places(x, gap, share, noises.covariance(x.spread, x.spread)[0], batch)
    alike, free = field.overlap(batch.size) if field else 1.0, _free(weight, terms, units)
    own = (own - fourth) * alike + fourth
    excess = spilled + free * blurring(batch.overlap(x) * alike) / units
    kept = (1 - free) * min(2 * share**2 * batch.overlap(x) * alike, own)  # what a bias adds is free
    tails = max(_tails(x.unit_variance, weight, share, terms), kept - own)
    own += tails
    noise = noises.fresh((own - kept) / units)
    if field is not None and x.field is not None and x.field.of_mean is not None:
        of_unit = _of_mean(x.field, field, weight, share, fourth, terms, batch)
        field, noise = of_mean.through(x, field, share, noise, of_unit / units, noises)
    kurtosis = -6 / (max(terms, units) + 2) if weight.form == "orthogonal" else 0.0
    return Source(
        mean, std, gap, units, x.spread.scaled(share), noise, own, excess, excess, fourth=fourth, field=field,
        free=free, kurtosis=kurtosis, of_signal=share, tails=tails,
    )  # fmt: skip


def _of_mean(x: Field, y: Field, weight: Fill, share: float, fourth: float, terms: float, batch: Batch) -> float:
    """Return the relative variance of a unit's squared mean over positions."""
    whole = share * of_mean.share(x) / of_mean.share(y)
    tails = _tails(2 * of_mean.overlap(x, batch.size), weight, min(whole, 1.0), terms)
    return 2 * of_mean.overlap(y, batch.size) + fourth / of_mean.share(y) ** 2 + tails


def _tails(unit_variance: float, weight: Fill, share: float, terms: float) -> float:
    """Return what the weights' fourth cumulant κ₄ adds to the variance of a unit's square, averaged over the batch.

    Σ_i κ₄ m_i² relative to the second moment squared, with m_i the mean square of entry i of what goes in, or comes
    back, over all examples and positions; `unit_variance` is the relative variance of m_i. It is nothing beside the 2
    of one vector, but against the 2/n and more of many independent ones it is large.
    Uniform weights, as torch fills its layers, have κ₄ = -6/5 Var(w)².
    """
    if weight.form != "independent":
        return 0.0
    return (weight.kurtosis - 3) * share**2 * (1 + unit_variance) / terms


def _typical(x: Moments) -> Moments:
    """Return the moments with those of a typical draw for a reference: what is no power of them is taken there."""
    if x.spread.mean == 0:
        return x
    size = math.exp(min(x.spread.mean, 700.0))
    trail = x.spread.trail and x.spread.trail.shifted(-x.spread.mean)
    spread = replace(x.spread.shifted(-x.spread.mean), trail=trail)
    return replace(x, mean=x.mean * math.sqrt(size), q=x.q * size, d=x.d * size, spread=spread)


def _unaligned(x: Moments, share: float, noises: Noises, batch: Batch) -> Array | float:
    """Return what lengths that differ add to d, [examples, examples], where a bias, not along the signal, joins."""
    if share == 1.0:
        return 0.0
    apart = noises.covariance(x.spread, x.spread)[1]
    if apart <= ROUNDING:
        return 0.0
    if x.parting:
        apart *= x.parting.cosine.typical(batch.distinct_mean(correlation_gap(x.d, np.sqrt(x.q))))
    return batch.off_diagonal((1 - share) * -math.expm1(-apart / 4) * x.product)


def _beside(x: Spread, share: float, noises: Noises) -> Spread:
    """Return the form of log(share q + 1 - share), share the part of q in the whole: bow share (1 - share).

    Of single examples' own variance nothing is left: what the parabola gives it, the mean over examples takes.
    """
    if share == 1.0:
        return x
    variance = noises.covariance(x, x)[0]
    bow = share * (1 - share)
    return x.scaled(share).shifted(bow * variance / 2, skewed(bow, share * variance))


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


def _mean_square(mean: Array, std: Array) -> float:
    return float((std**2 + mean**2).sum()) / len(std)


def _unit_variance(
    mean: Array, std: Array, gap: Array, cumulant: float, spilled: Array, batch: Batch
) -> tuple[float, float]:
    """Return the variance over units of the batch-averaged square, relative to its mean squared.

    And by how much that of one example's square is beyond the covariance of two.
    """
    product = np.outer(std, std) * (1 - gap)
    fourth = 2 * product**2 + 4 * np.outer(mean, mean) * product
    q = _mean_square(mean, std)
    if q * q <= 0:
        return 0.0, 0.0
    fourth = fourth + 2 * spilled * (q * q)
    return max(batch.pair_mean(fourth) / (q * q) + cumulant, 0.0), max(batch.alone(fourth, std**2 + mean**2), 0.0)


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
    lies along z, by more than chance (`along`), W^T g is larger than for a W that knows nothing of x; of what lies
    along W x + b only the share of W x in it does. `widening` is how many entries of an example W makes of one,
    terms/units where it has no other positions; `places` how many positions its outcome W^T g has.
    """
    free, chance = _free(weight, terms, units), 1 / (units * places)
    along = g.along * (terms / units if widening is None else widening)
    along *= source.of_signal if source else 1.0
    kept = min(free, 1.0) if source else 0.0  # what keeps lengths keeps them
    pull = 1 + kept * along
    overlap = batch.overlap(g) * (g.field.overlap(batch.size) if g.field else 1.0)
    lone = g.field is None and (source is None or source.lone)
    plain = lone and weight.form != "orthogonal"
    noise, meeting = _noise_back(
        g, weight, source, overlap, (terms, units), plain, leaning(along, chance), batch, noises
    )
    field = g.field and g.field.drawn_along(kept * along)
    if field is not None and g.field is not None and g.field.of_mean is not None and free:
        of_unit = _of_mean(g.field, field, weight, 1.0, 0.0, terms, batch)
        field, noise = of_mean.through(g, field, 1.0, noise, free * of_unit / units, noises)
    spread = g.spread.plus(noise).modulated(2 * free / units, kept * (along + chance), kept * chance)
    apart = 2 * batch.apart_of(g) if lone else 0.0
    if lone and source is not None and g.spread.trail is not None:
        back = _pulled(g, source, overlap, apart, pull, batch, noises) if plain else None
        back = back or _turned_back(g.spread.trail, source, free * overlap, free * apart, terms, units, batch, noises)
        spread = replace(spread, trail=back)
    alongside = _alongside(g, source, units, noises, batch) if plain and source is not None else None
    grown = batch.growth(g, noises) if plain else blurring(overlap)
    blur = free * grown / units
    alignment = g.alignment + free * aligning(g.alignment, g.alignment) / units
    crossed = g.crossed + free * aligning(g.alignment, g.crossed) / units
    field = field.blurred(units / free, batch.size) if field and free else field
    return Moments(
        *_sums_back(g, weight, kept * along, beyond_signals(g, source), terms),
        spread,
        2 * overlap,
        g.excess + blur,
        alignment,
        (along + chance) / pull - chance,
        field,
        unit_apart=apart,
        crossed=min(crossed, alignment),
        meeting=meeting.raised(free / units, free / units),
        blur=blur if plain else 0.0,
        tilt=g.tilt * _still(g, blur, batch) if plain else 0.0,
        by_size=g.by_size + free * (grown - batch.growth_of_cosines(g)) / units if lone else 0.0,
        alongside=alongside,
    )


def _taken(g: Moments, left: float, units: float, noises: Noises, batch: Batch) -> tuple[float, float]:
    """Return what large gradients that lie less along their signals take (alongside.py)."""
    if g.alongside is None or g.spread.trail is not None:
        return 0.0, 0.0
    own = noises.covariance(g.spread, g.spread)[1]
    return g.alongside.taken(1.0, left, units, batch.concentration(own))


def _alongside(g: Moments, source: Source, units: float, noises: Noises, batch: Batch) -> Alongside | None:
    """Return how far W^T g lies along the signals."""
    if g.alongside is None:
        return None
    share = batch.concentration(noises.covariance(g.spread, g.spread)[1])
    of_signal = 2 * (1 - float(source.decay_of_squares[:, 2].mean()))
    step = Step(
        1.0,
        of_examples(2.0, 2 * batch.pair_overlap(g), share),
        of_examples(2.0, of_signal, g.alongside.concentration(share)),
    )
    return g.alongside.behind(step, units)


def _still(g: Moments, blur: float, batch: Batch) -> float:
    """Return which share of what two examples have in common they had before a matrix added to it."""
    had = batch.pair_overlap(g)
    return had / (had + blur) if blur > 0 else 1.0


def _sums_back(g: Moments, weight: Fill, along: float, more: Array | float, terms: float) -> tuple[Array, Array, Array]:
    """Return mean, q and d of sums of gradients times weights; `along` as much more differs by so much `more`."""
    lift = weight.mean**2 * terms * (terms - 1)
    gain = (weight.variance * (1 + along) + weight.mean**2) * terms
    d = gain * g.d + weight.variance * terms * along * more + lift * (g.mean[:, None] - g.mean) ** 2 / 2
    return weight.mean * terms * g.mean, gain * g.q + lift * g.mean**2, d


def _noise_back(
    g: Moments,
    weight: Fill,
    source: Source | None,
    overlap: float,
    sizes: tuple[float, float],
    plain: bool,
    left: float,
    batch: Batch,
    noises: Noises,
) -> tuple[Spread, Meeting]:
    """Return the noise of W^T g, of so many terms and units, and the meeting with what is spent of it.

    `left` is how far it leans on what lies along its own signal.
    """
    (terms, units), free = sizes, _free(weight, *sizes)
    apart, heavier, gathered = _of_examples(g, noises, batch) if plain else (0.0, 0.0, 0.0)
    tails = _tails(g.unit_variance or 2 * overlap, weight, 1.0, terms)
    variance = max(2 * overlap + gathered + tails, 0.0) / units
    noise, meeting = CERTAIN, g.meeting
    if plain and source is not None and source.own_variance > 0:
        meeting = meeting.grown(g.alignment, g.crossed, source, batch)
        forms = meeting.forms(batch, left, source)
        taken, less = _taken(g, left, units, noises, batch)
        wider = variance + _gathered_by_meeting(g.spread, forms[1], noises, batch) / units + 2 * taken
        each = max((apart + 2 * g.by_size) / units - less, 0.0)
        noise, meeting = meeting.noise(Sum(wider, each, 1 / units, 1 / units), forms, noises)
        own, met = (noises.covariance(g.spread, form)[1] for form in (g.spread, noise))
        noise = noise.shifted((1 - batch.concentration(own)) * met - taken + log_mean(variance) - log_mean(wider))
    elif free:
        noise = _matrix_noise(g, free * variance, apart / units, source, units, noises)
    if free:
        noise = noise.shifted(log_mean((2 * overlap + heavier) / units) - log_mean((2 * overlap + gathered) / units))
    return noise, meeting


def _pulled(
    g: Moments, source: Source, overlap: float, apart: float, pull: float, batch: Batch, noises: Noises
) -> Trail:
    """Return the trail of W^T g."""
    assert g.spread.trail is not None
    units, alone = source.units, apart * (1 - 1 / batch.size)
    fresh = noises.normal(2 * overlap / units, apart / units) - (2 * overlap + alone) / units / 2
    trail = g.spread.trail.moved(noises)
    return trail.pulled(source.of_signal, 1 / units, pull, fresh, drawn_units(source, batch, noises))


def _turned_back(
    trail: Trail, source: Source, overlap: float, apart: float, terms: float, units: float, batch: Batch, noises: Noises
) -> Trail:
    """Return the trail of W^T g behind an orthogonal W; `overlap` and `apart` are what its directions leave free."""
    less = (2 * overlap + apart * (1 - 1 / batch.size)) / units / 2
    return trail.rotated(source.of_signal, terms, units, (2 * overlap / units, apart / units), less, noises)


def leaning(along: float, chance: float) -> float:
    """Return how far the log of |W^T u|² leans on what the layers behind made of its own signal, relative to chance.

    It leans on what of u lies along z by chance, of which there is less where u avoids z. What lies there beyond chance
    is what the loss, or the functions, put there, whatever the layers did: no more is shared for it.

    >>> leaning(0.5, 0.01), leaning(-0.01, 0.01)
    (1.0, 0.0)
    """
    return min(max(1 + along / chance, 0.0), 1.0)


def _of_examples(g: Moments, noises: Noises, batch: Batch) -> tuple[float, float, float]:
    """Return by how much a unit's variance of one example is beyond that of two, and what uneven sizes make of it.

    That is what the mean of the log loses, and what its variance gains.
    """
    apart = 2 * batch.apart_of(g)
    own = noises.covariance(g.spread, g.spread)[1]
    one = 1 / batch.size
    return apart, (batch.concentration(own) - one) * apart, (batch.gathered(own) - one) * apart


def _gathered_by_meeting(own: Spread, met: Spread, noises: Noises, batch: Batch) -> float:
    """Return what the batch's log varies by where sizes that are apart come further apart, by a form they have met."""
    apart = noises.covariance(own, own)[1]
    return 2 * batch.gathers(apart) * max(noises.covariance(own, met)[1], 0.0)


def _matrix_noise(
    g: Moments, variance: float, apart: float, source: Source | None, units: float, noises: Noises
) -> Spread:
    """Return the noise of W^T g, beside positions and the like: by the alignment it is that of W x."""
    if source is None or source.own_variance <= 0:
        return noises.fresh(variance, apart)
    known = source.own_variance / source.units
    share = 2 * g.alignment / units / known
    share = within_bounds(share, variance, known) if source.field is not None else share
    return noises.sharing(variance, source.noise, known, share, apart)


def blurring(overlap: float) -> float:
    """Return by how much a Gaussian layer raises the overlap, per unit: (1 + 2r)(1 - r).

    For products K and squares q of two examples, over N units, E[K'²] = K² + (q q' + K²)/N and E[q q'] gains 2 K²/N;
    their ratio r gains (1 + r - 2 r²)/N.
    """
    return (1 + 2 * overlap) * (1 - overlap)
