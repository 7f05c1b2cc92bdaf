"""How moments pass a function of a Gaussian source, forward and backward, and the spread that the function adds.

Per unit, X = mean over the batch of f(z_b)² has relative variance total = mean over pairs of Cov(f², f'²)/E[f²]². What
the source's own spread explains of it is s² own, s = d log E[f²]/d log Var(z); the rest is a noise of its own, of
variance (total - s² own)/units. For He-ReLU at c = 1: own 2, s 1, total 5, the 5/n a layer of Hanin and Rolnick 2018.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .batch import Batch
from .curve import passed, skewed
from .field import Field, decayed, white
from .hermite import Expansion, decay, expand, tables
from .linear_map import blurring
from .parting import parted, sampled
from .source import Onward, Source, Wave, leaning, sensitivity
from .spread import CERTAIN, Noises, Spread, log_mean
from .values import Array, Moments


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
    q, mean, d = source.rows(f.q), source.rows(f.mean), source.difference(f)
    if wave.gaussian:
        return replace(_of_units(source, batch), mean=mean, q=q, d=d)
    squares = source.covariance(f, f, source.settled) * (_ratio(_alike(source, f, batch), _mean(q) ** 2))
    gaussian = batch.pair_mean(squares)  # what a bias takes from the variance of q it takes from that of d
    if source.fourth:
        squares = squares + source.fourth * leaning(wave.values) * (1 - source.gap) ** 2
    total, apart = max(batch.pair_mean(squares), 0.0), batch.apart(squares)
    s = sensitivity(f)
    extra = max(total - s * s * source.own_variance, 0.0)
    alone = max(apart - s * s * source.own_apart, 0.0)
    noise = noises.fresh(extra / source.units, alone / source.units)
    source.onward = Onward(wave.values, f, noise, extra)
    curve = passed(wave.values, _mean(f.q), source.before, noises, batch)
    own = source.noise.centred.scaled(s).plus(noise.centred)
    third = skewed(curve.bow, curve.slope * noises.covariance(source.before, source.before)[0])
    spread = curve.of(source.before).plus(own).shifted(log_mean(total / source.units), third)
    field = field_through(source, f, s) if source.field else None
    excess = _forward_excess(source, f, (q[:, None] + q) / 2 - d, q, total - apart / batch.size, batch)
    parting = None
    if source.parting is not None and source.field is None and not source.settled and q.any() and np.any(source.gap):
        parting, further = parted(source, f, wave.values, gaussian, s, batch)
        parting = parting.lengthened(noises.covariance(spread, spread)[1], s, source, noises)
        d = np.minimum(d * further, q[:, None] + q)
    return Moments(mean, q, d, spread, total, excess, field=field, unit_apart=apart, parting=parting)


def _of_units(source: Source, batch: Batch) -> Moments:
    """Return what varies of the units themselves."""
    nothing = np.zeros(0)
    own, excess, apart = source.own_variance, source.excess, source.own_apart
    m = Moments(nothing, nothing, nothing, source.spread, own, excess, field=source.field, unit_apart=apart)
    return m if source.parting is None else replace(m, parting=sampled(source, batch))


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
    return source.field.mapped(lambda gap: np.minimum(gap * factor, 2.0))


def field_through(source: Source, f: Expansion, power: float) -> Field:
    """Return how positions of f(z) differ, by the differences of z; `power` is how f's size grows with that of z."""
    masses = (f.plain**2).mean(0) / max(float(f.q.mean()), 1e-300)
    return centred(source).mapped(lambda gap: decayed(gap, masses)).powered(power)


def _forward_excess(
    source: Source, f: Expansion, product: Array, q: Array, shared: float, batch: Batch
) -> Array | float:
    """Return the excess of f(z): that of the covariances of z through the correlation map, and what the units add.

    A correlation that varies by σ about c is taken at c ± σ. The units add M (1 - r)/N to the ratio r of E[(x·y)²] and
    E[x² y²], M = 1 + `shared` = E[f² f'²]/E[f²]² of two examples.
    """
    size = _mean(q)
    if len(q) < 2 or size <= 0:
        return 0.0
    c = 1 - batch.distinct_mean(source.gap)
    sigma = math.sqrt(max(batch.distinct_mean(batch.off_diagonal(source.before_excess)), 0.0))
    masses = (f.plain**2).mean(0) / size
    gaps = np.clip(np.array([1 - c, 1 - c - sigma, 1 - c + sigma]), 0.0, 2.0)
    here, above, below = (1 - decay(gaps) @ masses / masses.sum()) ** 2
    spilled = max((above + below) / 2 - here, 0.0)
    ratio = min(batch.distinct_mean(product**2) / (size * size) + spilled, 1.0)
    return batch.bounded(spilled + (1 + shared) * (1 - ratio) / source.units, product, q)


def constant(f: Array, batch: Batch) -> Moments:
    """Return the moments of a tensor whose entries are all the same number."""
    ones = np.ones(batch.followed)
    return Moments(ones * float(f.mean()), ones * float((f**2).mean()), np.zeros((len(ones), len(ones))), CERTAIN)


def backward(base: Moments, wave: Wave, batch: Batch, noises: Noises) -> Moments:
    """Return the moments of g h(z), for a gradient g taken as independent of z (gradient independence)."""
    if wave.source is None:
        return scaled(base, float(wave.values.mean()))
    return _Product(base, wave.source, wave.values, batch).moments(noises)


def scaled(base: Moments, factor: float) -> Moments:
    """Return the moments of a tensor times a number."""
    square = factor * factor
    return replace(base, mean=base.mean * factor, q=base.q * square, d=base.d * square)


def _alongside(source: Source, values: Array, h: Expansion, along: float) -> tuple[float, float]:
    """Return by how much more of g h is left than of an independent g, and what of it lies along z.

    A share a of g lies along f(z), the function that goes on, and what lies there meets h where f is large:
    E[f² h²]/(E[f²] E[h²]) in place of 1. The rest lies anywhere else, so of n entries, with C the squared cosine of
    h z and f, (g h)·z is to |g| |h z| as a C + (1 - a)(1 - C)/(n - 1), squared.
    """
    if source.onward is None or along <= 0:
        return 1.0, along
    f, w = source.onward.values, tables()[1]
    sizes = float(source.onward.expansion.q.mean()) * float(h.q.mean())
    if sizes <= 0:
        return 1.0, along
    places = source.field.count if source.field else 1
    entries = source.units * places
    more = along - 1 / entries  # as much lies along any one direction by chance
    favour = max(1 + more * (float(((f * values) ** 2 @ w).mean()) / sizes - 1), 0.0)
    back = values * source.nodes
    size = float((back**2 @ w).mean())
    met = float((f * back @ w).mean()) ** 2 / float(source.onward.expansion.q.mean())
    chance = (1 - along) * max(size - met, 0.0) / max(entries - 1, 1.0)
    whole = float((source.nodes**2 @ w).mean()) * float(h.q.mean()) * favour
    return favour, min((along * met + chance) / max(whole, 1e-300), 1.0)


class _Product:
    """A gradient times a function h of a source."""

    def __init__(self, base: Moments, source: Source, values: Array, batch: Batch) -> None:
        self.base, self.source, self.batch, self.values = base, source, batch, values
        self.h = h = expand(values)
        self.favour, self.along = _alongside(source, values, h, base.along)
        self.q_h, self.d_h = source.rows(h.q), source.difference(h)
        self.q = base.q * self.q_h * self.favour
        self.field = self._field()
        self.overlap = batch.overlap(base) * (base.field.overlap(batch.size) if base.field else 1.0)
        self.total, self.apart = self._total()
        self.s = sensitivity(h)

    def moments(self, noises: Noises) -> Moments:
        """Return the moments of the product."""
        spread = self._spread(noises).modulated(2 * (self._fourth() - 1) / self.source.units)
        mean = self.base.mean * self.source.rows(self.h.mean)
        alignment = self._alignment()
        d, excess = self._d(), self._excess()
        return Moments(mean, self.q, d, spread, self.total, excess, alignment, self.along, self.field, self.apart)

    def _field(self) -> Field | None:
        """Return how positions of g h differ; those of a gradient without a field are independent."""
        if self.source.field is None:
            return self.base.field
        h = field_through(self.source, self.h, sensitivity(self.h))
        g = self.base.field
        return h.met(g if g is not None and g.sizes == h.sizes else white(h.sizes, 1.0, 1.0, 1.0))

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
        alike = self.field.overlap(self.batch.size) if self.field else 1.0
        relative = (fourth - q[:, None] * q) * _ratio(alike, _mean(q) ** 2)
        return max(self.batch.pair_mean(relative), 0.0), max(self.batch.apart(relative), 0.0)

    def _fourth(self) -> float:
        """Return E[h⁴]/E[h²]² over pairs: what is left of the total beside the gradient's own overlap."""
        return (self.total + 1) / (1 + 2 * self.overlap)

    def _excess(self) -> Array | float:
        agreed = ((self.q_h[:, None] + self.q_h) / 2 - self.d_h) ** 2 / max(_mean(self.q_h) ** 2, 1e-300)
        if len(agreed) < 2:
            return self.base.excess * agreed
        kept, overlap = self.batch.distinct_mean(agreed), self.batch.pair_overlap(self.base)
        shared = self.total - self.apart / self.batch.size
        blur = (shared + 1) * (1 - overlap * kept) - kept * blurring(overlap)
        return self.base.excess * agreed + max(blur, 0.0) / self.source.units

    def _alignment(self) -> float:
        """Return the alignment behind h: blurred as the overlap is."""
        before = self.base.alignment
        return min(before + max(self._fourth() - 1, 0.0) * blurring(before) / self.source.units, 1.0)

    def _spread(self, noises: Noises) -> Spread:
        """Return the spread: that of g, of the source through h, of the forward noise that it shares, and its own."""
        base, source = self.base, self.source
        weighed = self.batch.concentration(noises.covariance(base.spread, base.spread)[1])
        curve = passed(self.values, _mean(self.h.q), source.before, noises, self.batch, weighed)
        own = source.noise.centred.scaled(self.s).plus(self._extra(noises, weighed - 1 / self.batch.size).centred)
        added = curve.of(source.before).plus(own)
        fresh = log_mean(max(self.total - base.unit_variance, 0.0) / source.units)
        spread = base.spread.plus(added).shifted(fresh + (1 - weighed) * noises.covariance(base.spread, added)[1])
        along = noises.covariance(base.spread.plus(curve.of(source.before)), source.before)[0]
        return spread.shifted(0.0, skewed(curve.bow, along))

    def _extra(self, noises: Noises, heavier: float) -> Spread:
        """Return the noise beside that of the source's own size: with the forward noise it has a share in common."""
        base, source, s = self.base, self.source, self.s
        apart = max(self.apart - base.unit_apart - s * s * source.own_apart, 0.0) / source.units
        extra = max(self.total - base.unit_variance - s * s * source.own_variance, 0.0) + heavier * apart * source.units
        if source.onward is None or source.onward.variance <= 0:
            return noises.fresh(extra / source.units, apart)
        noise, variance, f = source.onward.noise, source.onward.variance, source.onward.expansion
        joint = _ratio(
            self.batch.pair_mean(source.covariance(self.h, f, source.settled)),
            _mean(self.q_h) * _mean(source.rows(f.q)),
        )
        aligned = 2 * base.alignment * joint
        share = (joint + aligned - s * sensitivity(f) * source.own_variance) / variance
        return noises.sharing(extra / source.units, noise, variance / source.units, share, apart)
