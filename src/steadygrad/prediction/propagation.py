"""How moments pass a function of a Gaussian source, forward and backward, and the spread that the function adds.

Per unit, X = mean over the batch of f(z_b)² has relative variance total = mean over pairs of Cov(f², f'²)/E[f²]². What
the source's own spread explains of it is s² own, s = d log E[f²]/d log Var(z); the rest is a noise of its own, of
variance (total - s² own)/units. For He-ReLU at c = 1: own 2, s 1, total 5, the 5/n a layer of Hanin and Rolnick 2018.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from .batch import Batch
from .curve import passed, skewed
from .field import Field, decayed, white
from .hermite import Expansion, at_scales, decay, expand, over_rows, tables
from .linear_map import blurring
from .overlap import aligning, of_typical
from .parting import parted, sampled
from .source import Onward, Source, Wave, leaning, sensitivity
from .spread import CERTAIN, Noises, Spread, log_mean, within_bounds
from .values import Array, Moments

FLAT = 1000  # dimensions from which a coordinate's E[z⁴] is within 0.2% of a Gaussian's: 3k/(k + 2)
ANGLES = 2000  # of a coordinate on a sphere, a fifth of a deviation apart at the most and a hundredth in the middle


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 0.0


def _mean(values: Array) -> float:
    return float(values.sum()) / len(values)


def forward(wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z)."""
    source = wave.source
    if source is None:
        return constant(wave.values, batch)
    f = expand(wave.values)
    rounded = on_sphere(source, wave.values)
    q, mean, d = source.rows(f.q) * rounded, source.rows(f.mean), source.difference(f) * rounded
    if wave.gaussian:
        return _of_units(source, mean, q, d, batch)
    found = Moments(mean, q, d, CERTAIN)
    return (
        _forward(found, source, f, wave, batch, noises)
        if source.plain
        else _kept(found, source, f, wave, batch, noises)
    )


def _forward(m: Moments, source: Source, f: Expansion, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of f(z) with how they vary over draws."""
    q, d = m.q, m.d
    squares = source.covariance(f, f, source.settled) * _ratio(1.0, _mean(q) ** 2)
    gaussian = batch.pair_mean(squares)  # what a bias takes from the variance of q it takes from that of d
    if source.fourth:
        squares = squares + source.fourth * leaning(wave.values) * (1 - source.gap) ** 2
    total, apart = max(batch.pair_mean(squares), 0.0), batch.apart(squares)
    s = sensitivity(f)
    extra = max(total - s * s * source.own_variance, 0.0)
    alone = max(apart - s * s * source.own_apart, 0.0)
    shared, own = noises.fresh(extra / source.units), noises.own(alone / source.units)
    noise = shared.plus(own)
    source.onward = Onward(wave.values, f, shared, extra, own, alone)
    curve = passed(wave.values, _mean(f.q), source.before, noises, batch)
    added = source.noise.centred.scaled(s).plus(noise.centred)
    third = skewed(curve.bow, curve.slope * noises.covariance(source.before, source.before)[0])
    spread = curve.of(source.before).plus(added).shifted(log_mean(total / source.units), third)
    excess = _forward_excess(source, f, m.product, q, total - apart / batch.size, batch, noises)
    parting = None
    if source.parting is not None and not source.settled and q.any() and np.any(source.gap):
        parting, further = parted(source, f, wave.values, gaussian, s, batch)
        parting = parting.lengthened(noises.covariance(spread, spread)[1], s, source, noises)
        d = np.minimum(d * further, q[:, None] + q)
    return Moments(m.mean, q, d, spread, total, excess, unit_apart=apart, parting=parting)


def _kept(m: Moments, source: Source, f: Expansion, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the same beside positions, and behind an orthogonal matrix: in powers of the size that came in."""
    total, s = _squares_vary(source, f, _mean(m.q), batch), sensitivity(f)
    extra = _extra(source, f, total, s, batch)
    noise = noises.fresh(extra / source.units)
    source.onward = Onward(wave.values, f, noise, extra)
    excess = _excess_by_slope(source, m, total, batch)
    m = replace(m, spread=source.spread.scaled(s).plus(noise), unit_variance=total, excess=excess)
    if source.field is None:
        return m
    field, level = uneven(source, wave.values, field_through(source, f, s))
    return replace(m, q=m.q * level, d=m.d * level, field=_beyond(source, field, total, batch))


def squares_vary(wave: Wave, batch: Batch) -> float:
    """Return the relative variance of one unit's square, averaged over the batch and positions."""
    assert wave.source is not None
    f = expand(wave.values)
    return _squares_vary(wave.source, f, _mean(wave.source.rows(f.q)), batch)


def _squares_vary(source: Source, f: Expansion, q: float, batch: Batch) -> float:
    return _ratio(batch.pair_mean(source.covariance(f, f, source.settled)), q**2) * _alike(source, f, batch)


def _extra(source: Source, f: Expansion, total: float, s: float, batch: Batch) -> float:
    """Return the variance of a unit's mean square that the source's own does not explain.

    What an orthogonal matrix keeps, the products of its units, is the second order.
    """
    if source.free > 0 or source.field is not None:
        return max(total - s * s * source.own_variance, 0.0)
    rest = batch.pair_mean(source.covariance(f, f, source.settled, without=2))
    return max(_ratio(rest, _mean(source.rows(f.q)) ** 2), 0.0)


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
        at, weights = _coordinate(round(source.sphere, 1))
        return _ratio(float(np.mean([np.interp(at, z, row) ** 2 @ weights for row in values])), gaussian)
    fourth = float(square @ (w * (z**4 - 6 * z**2 + 3)))
    return max(1 + source.kurtosis / 24 * _ratio(fourth, gaussian), 0.0)


@lru_cache(maxsize=64)
def _coordinate(k: float) -> tuple[Array, Array]:
    """Return values √k cos θ, with weights sin(θ)^(k - 2), of a coordinate on a sphere; in one dimension ±1."""
    if k < 1.5:
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    angles = (np.arange(ANGLES) + 0.5) * (math.pi / ANGLES)
    weights = np.sin(angles) ** (k - 2)
    weights /= weights.sum()
    cosines = np.cos(angles)
    return cosines / math.sqrt(float(weights @ cosines**2)), weights


def _of_units(source: Source, mean: Array, q: Array, d: Array, batch: Batch) -> Moments:
    """Return the moments of the units themselves."""
    field = source.field
    if field is not None and source.free > 0:
        field = field.blurred(source.units / source.free, batch.size)
    own, excess, apart = source.own_variance, source.excess, source.own_apart
    parting = sampled(source, batch) if source.parting is not None else None
    spread = source.spread
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
    return replace(field, beyond=np.minimum(field.beyond * factor**2, 1.0))


def field_through(source: Source, f: Expansion, power: float) -> Field:
    """Return how positions of f(z) differ, by the differences of z; `power` is how f's size grows with that of z."""
    masses = (f.plain**2).mean(0) / max(float(f.q.mean()), 1e-300)
    return centred(source).mapped(lambda gap: decayed(gap, masses)).powered(power)


def uneven(source: Source, values: Array, field: Field) -> tuple[Field, float]:
    """Return the field of f(z) with the second moment that each position has, and their mean relative to f's own.

    A position whose variance is s times the mean has E[f(√s z)²].
    """
    assert source.field is not None
    share = source.field.share
    if not np.ptp(share):
        return field, 1.0
    square, variance = float((source.mean**2).mean()), float((source.std**2).mean())
    some, back = np.unique(np.round(share, 3), return_inverse=True)
    scales = np.sqrt(np.maximum(some * (square + variance) - square, 0.0) / max(variance, 1e-300))
    squares = at_scales((values**2).mean(0), np.append(scales, 1.0))
    found = squares[:-1][back].reshape(share.shape)
    mean = float(found.mean())
    if not (mean > 0 and squares[-1] > 0):
        return field, 1.0
    return replace(field, share=found / mean), mean / float(squares[-1])


def _beyond(source: Source, field: Field, total: float, batch: Batch) -> Field:
    """Return the field of f(z) with what products of two places vary by, as `_forward_excess` says of two examples."""
    before = centred(source)
    apart = [sum(w * gap for w, gap in zip(_shares(batch), f.mean(), strict=True)) for f in (before, field)]
    kept = min(_ratio(apart[1], apart[0]) ** 2, 1.0)
    spilled = replace(field, beyond=kept * before.beyond)
    return _raised(spilled, total, source.units, batch)


def _raised(field: Field, total: float, units: float, batch: Batch) -> Field:
    """Return a field with what so many units of this relative variance add to what products of two places vary by."""
    blur = (total + 1) * (1 - field.overlap_of_all(batch.size))
    return field.raised(max(blur, 0.0) / units)


def _shares(batch: Batch) -> tuple[float, float]:
    """Return the shares of pairs of one example and of two."""
    return 1 / batch.size, 1 - 1 / batch.size


def _excess_by_slope(source: Source, m: Moments, total: float, batch: Batch) -> Array | float:
    """Return the excess of f(z): that of z through the slope of the correlation map, and what the units add."""
    size, product = _mean(m.q), m.product
    kept = _ratio(_ratio(batch.pair_mean(m.d), size), batch.pair_mean(source.gap)) ** 2
    spilled = batch.bounded(source.excess * kept, product, m.q)
    overlap = _ratio(batch.pair_mean(product**2), size * size) + batch.pair_mean(spilled)
    blur = (total + 1) * (1 - min(overlap, 1.0)) - kept * blurring(min(source.own_variance / 2, 1.0))
    return batch.bounded(spilled + max(blur, 0.0) / source.units, product, m.q)


def _forward_excess(
    source: Source, f: Expansion, product: Array, q: Array, shared: float, batch: Batch, noises: Noises
) -> Array | float:
    """Return the excess of f(z): that of the covariances of z through the correlation map, and what the units add.

    A correlation that varies by σ about c is taken at c ± σ. The units add M (1 - r)/N to the ratio r of E[(x·y)²] and
    E[x² y²], M = 1 + `shared` = E[f² f'²]/E[f²]² of two examples, and in a typical draw the part that is as large as it
    is for Gaussian units, of M = 1 + 2r.
    """
    size = _mean(q)
    if len(q) < 2 or size <= 0:
        return 0.0
    c = 1 - batch.distinct_mean(source.gap)
    sigma = math.sqrt(max(batch.distinct_mean(batch.off_diagonal(source.before_excess)), 0.0))
    masses = over_rows(f.plain**2) / size
    gaps = np.clip(np.array([1 - c, 1 - c - sigma, 1 - c + sigma]), 0.0, 2.0)
    here, above, below = (1 - decay(gaps) @ masses / masses.sum()) ** 2
    spilled = max((above + below) / 2 - here, 0.0)
    ratio = min(batch.distinct_mean(product**2) / (size * size) + spilled, 1.0)
    weight = batch.concentration(noises.covariance(source.spread, source.spread)[1])
    typical = of_typical(batch.distinct_mean(product) / size, ratio, weight)
    return batch.bounded(spilled + typical * (1 + shared) * (1 - ratio) / source.units, product, q)


def two_gaps(source: Source, batch: Batch) -> tuple[Array, Array]:
    """Return 1 - c of two examples, then two values of mean and variance as over draws, with their probabilities.

    They lie evenly about the mean, unless the upper correlation would be beyond 1: then it is 1.
    """
    gap = min(batch.distinct_mean(source.gap), 2.0)
    variance = max(batch.distinct_mean(batch.off_diagonal(source.before_excess)), 0.0)
    sigma = math.sqrt(variance)
    if sigma <= gap:
        return np.array([gap, gap - sigma, min(gap + sigma, 2.0)]), np.array([0.5, 0.5])
    one = variance / (variance + gap * gap)
    return np.array([gap, 0.0, min(gap + variance / max(gap, 1e-300), 2.0)]), np.array([one, 1 - one])


def constant(f: Array, batch: Batch) -> Moments:
    """Return the moments of a tensor whose entries are all the same number."""
    ones = np.ones(batch.followed)
    return Moments(ones * float(f.mean()), ones * float((f**2).mean()), np.zeros((len(ones), len(ones))), CERTAIN)


def backward(base: Moments, wave: Wave, batch: Batch, noises: Noises, favour: float = 1.0) -> Moments:
    """Return the moments of g h(z), for a gradient g taken as independent of z (gradient independence).

    `favour` is E[g² h²]/(E[g²] E[h²]) where g went through what has weights in common with z.
    """
    if wave.source is None:
        return scaled(base, float(wave.values.mean()))
    return _Product(base, wave.source, wave.values, batch, favour).moments(noises)


def scaled(base: Moments, factor: float) -> Moments:
    """Return the moments of a tensor times a number."""
    square = factor * factor
    return replace(base, mean=base.mean * factor, q=base.q * square, d=base.d * square)


class _Product:
    """A gradient times a function h of a source."""

    def __init__(self, base: Moments, source: Source, values: Array, batch: Batch, favour: float) -> None:
        self.base, self.source, self.values, self.batch = base, source, values, batch
        self.plain = source.plain and base.field is None
        self.h = h = expand(values)
        self.q_h, self.d_h = source.rows(h.q), source.difference(h)
        self.field, level = self._field()
        self.favour, self.along, self.favoured = self._alongside()
        self.favour *= level * on_sphere(source, values) * favour
        self.q = base.q * self.q_h * self.favour
        self.overlap = batch.overlap(base) * (base.field.overlap(batch.size) if base.field else 1.0)
        self.total, self.apart = self._total()
        if self.source.field is not None:
            self.total = self._total_over_positions()
        if self.source.field is not None and self.field is not None:
            self.overlap = self._of_gradient(self.field.sizes).overlap_of_all(batch.size)
            self.field = _raised(self.field, self.total, self.source.units, batch)
        self.s = sensitivity(h)

    def moments(self, noises: Noises) -> Moments:
        """Return the moments of the product."""
        spread = self._spread(noises).modulated(2 * (self._fourth() - 1) / self.source.units, self.favoured)
        mean = self.base.mean * self.source.rows(self.h.mean)
        alignment, crossed = self._alignment()
        d, excess = self._d(), self._excess(noises)
        return Moments(
            mean,
            self.q,
            d,
            spread,
            self.total,
            excess,
            alignment,
            self.along,
            self.field,
            unit_apart=self.apart,
            crossed=crossed,
        )

    def _field(self) -> tuple[Field | None, float]:
        """Return how positions of g h differ, and by how much more is left where both are large at the same ones.

        Positions of a gradient without a field are independent.
        """
        if self.source.field is None:
            return self.base.field, 1.0
        h, level = uneven(self.source, self.values, field_through(self.source, self.h, sensitivity(self.h)))
        g = self._of_gradient(h.sizes)
        agreed = h.overlap_of_all(self.batch.size)
        return replace(h.met(g), beyond=g.beyond * agreed), level * float((h.share * g.share).mean())

    def _alongside(self) -> tuple[float, float, float]:
        """Return by how much more of g h is left than of an independent g, and what of it lies along z, beyond chance.

        And by how much it grows with what lies along f, relative to that.

        A share a of g lies along f(z), the function that goes on, and what lies there meets h where f is large:
        E[f² h²]/(E[f²] E[h²]) in place of 1. The rest lies anywhere else: with C the squared cosine of h z and f, and
        p and p' what of g lies along f and along h z by chance, (g h)·z is to |g| |h z| as a C + (1 - a)/(1 - p)
        (p' - p C), squared; of n independent entries p = p' = 1/n.
        """
        source, onward = self.source, self.source.onward
        if onward is None:
            return 1.0, self.base.along, 0.0
        f, w = onward.values, tables()[1]
        q, q_h = _mean(onward.expansion.q), _mean(self.h.q)
        if q * q_h <= 0:
            return 1.0, self.base.along, 0.0
        back = self.values * source.nodes
        chances = [self._by_chance(x) for x in (onward.expansion, expand(back))]
        a = min(max(self.base.along + chances[0], 0.0), 1.0)
        excess = _mean((f * self.values) ** 2 @ w) / (q * q_h) - 1
        favour = max(1 + (a - chances[0]) * excess, 0.0)
        size = _mean(back**2 @ w)
        met = _mean(f * back @ w) ** 2 / q
        rest = (1 - a) / max(1 - chances[0], 1e-300) * max(size * chances[1] - met * chances[0], 0.0)
        whole = _mean(source.nodes**2 @ w) * q_h * favour
        left = min((a * met + rest) / max(whole, 1e-300), 1.0)
        if source.field is None:
            return favour, left - chances[0], a * excess
        return favour, left - source.field.by_chance(self.field, source.units), a * excess

    def _by_chance(self, f: Expansion) -> float:
        """Return the squared cosine of the gradient that came in and a function of z, were they independent."""
        source = self.source
        if source.field is None:
            return 1 / source.units
        return field_through(source, f, 1.0).by_chance(self.base.field, source.units)

    def _d(self) -> Array:
        """Return d from those of g and h: no term cancels where both are nearly equal for two examples."""
        q_g, d_g, q_h, d_h = self.base.q, self.base.d, self.q_h, self.d_h
        mean_g, mean_h = (q_g[:, None] + q_g) / 2, (q_h[:, None] + q_h) / 2
        uneven = (q_g[:, None] - q_g) * (q_h[:, None] - q_h) / 4
        return np.asarray(mean_g * d_h + mean_h * d_g - d_g * d_h + uneven) * self.favour

    def _total(self) -> tuple[float, float]:
        """Return the relative variance of one unit's batch-averaged square, and what two examples do not share."""
        base, q = self.base, self.base.q * self.q_h
        flat = base.q[:, None] * base.q
        square = self.source.covariance(self.h, self.h, self.source.settled) + self.q_h[:, None] * self.q_h
        fourth = square * (flat + 2 * base.product**2 + 2 * self.batch.off_diagonal(base.excess) * flat)
        relative = (fourth - q[:, None] * q) * _ratio(1.0, _mean(q) ** 2)
        apart = max(self.batch.apart(relative), 0.0) if self.plain else 0.0
        return max(self.batch.pair_mean(relative), 0.0), apart

    def _total_over_positions(self) -> float:
        """Return the same over positions too: the mean of (1 + Cov(h², h'²)/q²)(1 + 2 (g·g')²/q²) - 1 over pairs."""
        z, masses = centred(self.source), (self.h.square**2).mean(0)
        masses[: self.source.settled + 1] = 0.0
        of_h = z.covariances(masses / max(float((self.h.q**2).mean()), 1e-300))
        of_g = self._of_gradient(z.sizes).squares
        pairs = tuple((1 + h) * (1 + 2 * g) - 1 for h, g in zip(of_h, of_g, strict=True))
        return float((z.weights * z.averaged((pairs[0], pairs[1]), self.batch.size)).sum())

    def _of_gradient(self, sizes: tuple[int, ...]) -> Field:
        """Return the field that one unit's gradient is drawn with; without one positions are independent."""
        g = self.base.field
        if g is None or g.sizes != sizes:
            return white(sizes, 1.0, 1.0, 1.0)
        return g.of_one(self.source.units, self.batch.size)

    def _fourth(self) -> float:
        """Return E[h⁴]/E[h²]² over pairs: what is left of the total beside the gradient's own overlap."""
        return (self.total + 1) / (1 + 2 * self.overlap)

    def _excess(self, noises: Noises) -> Array | float:
        agreed = self._agreement()
        if self.plain and len(agreed) < 2:
            return self.base.excess * agreed
        kept, overlap, typical = self.batch.pair_mean(agreed), self.overlap, 1.0
        if self.plain:
            kept, overlap = self.batch.distinct_mean(agreed), self.batch.pair_overlap(self.base)
            weight = self.batch.concentration(noises.covariance(self.base.spread, self.base.spread)[1])
            typical = of_typical(self.batch.distinct_mean(self.base.product) / _mean(self.base.q), overlap, weight)
        shared = self.total - self.apart / self.batch.size
        blur = (shared + 1) * (1 - overlap * kept) - kept * blurring(overlap)
        return self.base.excess * agreed + typical * max(blur, 0.0) / self.source.units

    def _alignment(self) -> tuple[float, float]:
        """Return the alignments behind h: each grows by what h² h'² varies as it does behind a matrix.

        Of two examples what h and h' do not share is lost.
        """
        base, units = self.base, self.source.units
        a, x = base.alignment, base.crossed
        if not self.plain:
            fourth = max(self._fourth() - 1, 0.0) / units
            return min(a + fourth * aligning(a, a), 1.0), min(x + fourth * aligning(a, x), 1.0)
        own = (self.total + self.apart * (1 - 1 / self.batch.size) + 1) / 3
        a = min(a + max(own - 1, 0.0) * aligning(a, a) / units, 1.0)
        if self.batch.followed < 2:
            return a, a
        kept, fourth = self._agreed(), self.total - self.apart / self.batch.size + 1
        fourth /= 1 + 2 * self.batch.pair_overlap(base)
        grown = max(fourth - kept, 0.0) * aligning(base.alignment, x) / units
        return a, min(kept * x + grown, a)

    def _agreed(self) -> float:
        """Return (E[h h']/E[h²])² of two examples."""
        return self.batch.distinct_mean(self._agreement())

    def _agreement(self) -> Array:
        """The square of E[h h']/E[h²] for all pairs, the mean over draws: the correlation of two examples varies."""
        agreed = ((self.q_h[:, None] + self.q_h) / 2 - self.d_h) ** 2 / max(_mean(self.q_h) ** 2, 1e-300)
        if not self.plain or len(agreed) < 2:
            return np.asarray(agreed)
        gaps, weights = two_gaps(self.source, self.batch)
        masses = over_rows(self.h.plain**2)
        left = (1 - decay(gaps) @ masses / max(float(masses.sum()), 1e-300)) ** 2
        more = float(weights @ left[1:]) / float(left[0]) if left[0] > 0 else 1.0
        return np.asarray(np.minimum(agreed * (1 + self.batch.off_diagonal(more - 1)), np.maximum(agreed, 1.0)))

    def _spread(self, noises: Noises) -> Spread:
        """Return the spread: that of g, of the source through h, of the forward noise that it shares, and its own."""
        base, source = self.base, self.source
        if not self.plain:
            return base.spread.plus(source.spread.scaled(self.s)).plus(self._extra(noises, 0.0))
        apart = noises.covariance(base.spread, base.spread)[1]
        weighed, gathered = self.batch.concentration(apart), self.batch.gathered(apart)
        curve = passed(self.values, _mean(self.h.q), source.before, noises, self.batch, weighed)
        one = 1 / self.batch.size
        own = source.noise.centred.scaled(self.s).plus(self._extra(noises, gathered - one).centred)
        through = curve.of(source.before)
        added = through.plus(own)
        uneven = (weighed - one) * max(self.apart - base.unit_apart, 0.0)
        fresh = log_mean((max(self.total - base.unit_variance, 0.0) + uneven) / source.units)
        spread = base.spread.plus(added).shifted(fresh + (1 - weighed) * noises.covariance(base.spread, added)[1])
        along = noises.covariance(base.spread.plus(through), source.before)[0]
        return spread.shifted(0.0, skewed(curve.bow, along))

    def _extra(self, noises: Noises, heavier: float) -> Spread:
        """Return the noise beside that of the source's own size: with the forward noise it has a share in common."""
        base, source, s = self.base, self.source, self.s
        apart = max(self.apart - base.unit_apart - s * s * source.own_apart, 0.0) / source.units if self.plain else 0.0
        known = base.unit_variance if source.field is None else min(base.unit_variance, 2 * self.overlap)
        extra = max(self.total - known - s * s * source.own_variance, 0.0) + heavier * apart * source.units
        if source.onward is None or source.onward.variance <= 0:
            return noises.fresh(extra / source.units, apart)
        onward = source.onward
        met, met_apart = self._met(onward.expansion)
        slopes = s * sensitivity(onward.expansion)
        share = (met - slopes * source.own_variance) / onward.variance
        if not self.plain:
            share = within_bounds(share, extra, onward.variance) if source.field is not None else share
            return noises.sharing(extra / source.units, onward.noise, onward.variance / source.units, share, apart)
        own = onward.apart / source.units
        alone = (met_apart - slopes * source.own_apart) / onward.apart if own > 0 else 0.0
        left = max(apart - alone * alone * own, 0.0)
        form = noises.sharing(extra / source.units, onward.noise, onward.variance / source.units, share, left)
        return form.plus(onward.alone.centred.scaled(alone))

    def _met(self, f: Expansion) -> tuple[float, float]:
        """Return the covariance of what h² and the onward f² of a unit vary by: over the batch, and of one example."""
        base, source, batch = self.base, self.source, self.batch
        square = source.covariance(self.h, f, source.settled)
        size = _mean(self.q_h) * _mean(source.rows(f.q))
        if not self.plain:
            whole = _ratio(batch.pair_mean(square), size)
            return whole + 2 * base.alignment * whole, 0.0
        aligned = np.full_like(square, base.crossed)
        np.fill_diagonal(aligned, base.alignment)
        joint = square * (1 + 2 * aligned) * _ratio(1.0, size)
        return batch.pair_mean(joint), batch.apart(joint)
