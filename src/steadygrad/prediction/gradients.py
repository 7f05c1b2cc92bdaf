"""How moments pass a function of a Gaussian source going backward: a gradient times h(z), and the noise that it shares.

What the gradient and the signal have in common is counted: noises of a unit's mask and of its function, how far the
gradient lies along the signal, and for batches how much of it is one example's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import mean_of_all, of_mean
from .alongside import Alongside, of_function, pulled
from .batch import Batch
from .coherent import LEAST, along_both
from .curve import Curve, passed, skewed
from .field import Field, everywhere, white
from .hermite import Expansion, decay, expand, over_rows
from .kept import in_front, kept
from .linear_map import blurring, leaning
from .meeting import Sum
from .over_lengths import over_lengths
from .overlap import aligning, of_typical
from .passage import Passage
from .propagation import (
    average,
    centred,
    field_through,
    on_sphere,
    quotient,
    raised_by_units,
    scaled,
    uneven,
)  # fmt: skip
from .regridded import regridded
from .source import Onward, Source, Wave, sensitivity
from .spread import CERTAIN, Noises, Spread, log_mean, within_bounds
from .trail import Trail, before_bent, begun_back
from .values import Array, Moments


def backward(base: Moments, wave: Wave, batch: Batch, noises: Noises, favour: float = 1.0) -> Moments:
    """Return the moments of g h(z), for a gradient g taken as independent of z (gradient independence).

    `favour` is E[g² h²]/(E[g²] E[h²]) where g went through what has weights in common with z.
    """
    if wave.source is None:
        return scaled(base, float(wave.values.mean()))
    if base.field is not None and wave.source.field is not None:
        base = replace(base, field=regridded(base.field, wave.source.field.sizes) or base.field)
    return _Product(base, wave.source, wave, batch, favour, noises).moments(noises)


def _where(source: Source, g: Field | None) -> Source:
    """Return a source that stands at one position at all those of the gradient that it meets."""
    one = source.field is not None and source.field.count == 1
    if source.field is None or g is None or not one or g.sizes == source.field.sizes:
        return source
    return replace(source, field=everywhere(source.field, g.sizes))


class _Product:
    """A gradient times a function h of a source."""

    def __init__(self, base: Moments, source: Source, wave: Wave, batch: Batch, favour: float, noises: Noises) -> None:
        source = _where(source, base.field)
        self.base, self.source, self.wave, self.values, self.batch = base, source, wave, wave.values, batch
        self.lone = source.lone and base.field is None
        self.plain = source.plain and self.lone
        self.h = h = expand(self.values)
        self.q_h, self.d_h = source.rows(h.q), source.difference(h)
        self.field, level = self._field()
        self.favour, self.along, self.favoured, self.by_chance = self._alongside(noises)
        self.field = self.field and self.field.drawn_along(self.favour - 1)
        self.favour *= level * on_sphere(source, self.values) * favour
        self.q = base.q * self.q_h * self.favour
        self.overlap = batch.overlap(base) * (base.field.overlap(batch.size) if base.field else 1.0)
        self.total, self.apart = self._total()
        if self.source.field is not None and self.field is not None:
            self.total, together = self._over_positions(centred(self.source))
            self.overlap = self._of_gradient(self.field.sizes).overlap_of_all(batch.size)
            field = raised_by_units(self.field, self.total, self.source.units, batch)
            self.field = replace(field, together=field.together + together)
        self.s, self.meeting = sensitivity(h), base.meeting
        self.agreed, self.tilt = self._agreement()
        self.by_size, self.own = 0.0, self._own()
        self.shares: tuple[float, float] | None = None

    def moments(self, noises: Noises) -> Moments:
        """Return the moments of the product."""
        form = self._spread(noises)
        spread = form.modulated(2 * (self._fourth() - 1) / self.source.units, self.favoured, self.by_chance)
        spread = replace(spread, trail=form.trail)
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
            meeting=self.meeting,
            tilt=self.tilt,
            by_size=self.by_size,
            alongside=self._lying(noises),
        )

    def _field(self) -> tuple[Field | None, float]:
        """Return how positions of g h differ, and by how much more is left where both are large at the same ones.

        Positions of a gradient without a field are independent.
        """
        if self.source.field is None:
            return self.base.field, 1.0
        h, level = uneven(
            self.source, self.values, field_through(self.source, self.h, sensitivity(self.h)), of_gradient=True
        )
        g = self._of_gradient(h.sizes)
        if g.in_all is not None or g.alike_everywhere:  # else no sum of a unit's places tells more than lags do
            in_all = mean_of_all.behind_function(self.source, centred(self.source), h, self.values, average(self.h.q))
            h = replace(h, in_all=in_all)
        agreed, together = h.overlap_of_all(self.batch.size), h.together + g.together
        found = replace(h.met(g), beyond=g.beyond * agreed, together=together, means=g.means, common=g.common)
        found = of_mean.behind(found, g, of_mean.kept_by(h))
        return found, level * float((h.share * g.share).mean())

    def _alongside(self, noises: Noises) -> tuple[float, float, float, float]:
        """Return by how much more of g h is left than of an independent g, and what of it lies along z, beyond chance.

        And by how much it grows with what lies along f, relative to that, and how much of that is by chance.

        A share a of g lies along f(z), the function that goes on, and what lies there meets h where f is large:
        E[f² h²]/(E[f²] E[h²]) in place of 1. The rest lies anywhere else: with C the squared cosine of h z and f, and
        p and p' what of g lies along f and along h z by chance, (g h)·z is to |g| |h z| as a C + (1 - a)/(1 - p)
        (p' - p C), squared; of n independent entries p = p' = 1/n. All is the mean over the lengths of z, where h and f
        meet otherwise.
        """
        source, onward = self.source, self.source.onward
        if onward is None or average(onward.expansion.q) * average(self.h.q) <= 0:
            return 1.0, self.base.along, 0.0, 0.0
        chances = self._by_chance(onward.expansion), self._by_chance(None)
        a = min(max(self.base.along + chances[0], 0.0), 1.0)
        (met, size, both), weights = over_lengths(source, self.wave, self.base, self.lone, self.batch, noises)
        favour = np.maximum(1 + (a - chances[0]) * (both - 1), 0.0)
        rest = (1 - a) / max(1 - chances[0], 1e-300) * np.maximum(size * chances[1] - met * chances[0], 0.0)
        left = float(weights @ np.minimum((a * met + rest) / np.maximum(favour, 1e-300), 1.0))
        excess = float(weights @ both) - 1
        grown = a * excess, chances[0] * excess
        if source.field is None:
            return float(weights @ favour), left - chances[0], *grown
        return float(weights @ favour), left - source.field.by_chance(self.field, source.units), *grown

    def _lying(self, noises: Noises) -> Alongside | None:
        """Return how what lies along the signals goes with the size of the product."""
        base, source = self.base, self.source
        if not self.plain or base.alongside is None or source.onward is None:
            return None
        share = self.batch.concentration(noises.covariance(base.spread, base.spread)[1])
        step = of_function(base, source, self.values, self.h, share, self.batch)
        return base.alongside.behind(step, source.units)

    def _taken(self, noises: Noises) -> tuple[float, float]:
        """Return what large gradients that lie less along their signals take."""
        base, onward = self.base, self.source.onward
        if not self.plain or base.alongside is None or onward is None or base.spread.trail is not None:
            return 0.0, 0.0
        share = self.batch.concentration(noises.covariance(base.spread, base.spread)[1])
        pull, units = pulled(onward, self.values, self.h), self.source.units
        return base.alongside.taken(pull, leaning(base.along, 1 / units), units, share)

    def _by_chance(self, f: Expansion | None) -> float:
        """Return the squared cosine of the gradient that came in and a function of z, or h z, were they independent."""
        source = self.source
        if source.field is None:
            return 1 / source.units
        f = f or expand(self.values * source.nodes)
        return field_through(source, f, 1.0).by_chance(self.base.field, source.units)

    def _d(self) -> Array:
        """Return d from those of g and h: no term cancels where both are nearly equal for two examples.

        What lies along f(z), the function that goes on, by one factor for all goes as f h does.
        """
        q_g, d_g = (self.base.q[:, None] + self.base.q) / 2, self.base.d
        onward = self.source.onward
        if onward is None or self.batch.followed < 2 or not self.base.along > LEAST:
            return self._independent(q_g, d_g) * self.favour
        f = onward.expansion
        lost = self.source.difference(f) / max(average(f.q), 1e-300)
        share = along_both(self.base, self.base.along, 1 - lost)
        if share is None:
            return self._independent(q_g, d_g) * self.favour
        both = expand(self.values * onward.values)
        met = average(both.q) / max(average(f.q), 1e-300)
        rest = self._independent((1 - share) * q_g, np.maximum(d_g - share * q_g * lost, 0.0))
        along = share * q_g * self.source.difference(both) / max(average(f.q), 1e-300)
        scale = 1 + share * (quotient(met, average(self.q_h)) - 1)
        return np.asarray((rest + along) * self.favour / np.maximum(scale, 1e-300))

    def _independent(self, mean_g: Array, d_g: Array) -> Array:
        """Return d of products with h of a gradient of these mean squares and differences that is independent of it."""
        q_g, q_h, d_h = self.base.q, self.q_h, self.d_h
        mean_h = (q_h[:, None] + q_h) / 2
        uneven = (q_g[:, None] - q_g) * (q_h[:, None] - q_h) / 4
        return np.asarray(mean_g * d_h + mean_h * d_g - d_g * d_h + uneven)

    def _total(self) -> tuple[float, float]:
        """Return the relative variance of one unit's batch-averaged square, and what two examples do not share."""
        base, q = self.base, self.base.q * self.q_h
        flat = base.q[:, None] * base.q
        self.squares = self.source.covariance(self.h, self.h, self.source.settled)
        square = self.squares + self.q_h[:, None] * self.q_h
        varying = self.batch.off_diagonal(base.varying - base.blur) * average(base.q) ** 2
        fourth = square * (flat + 2 * base.product**2 + 2 * varying)
        relative = (fourth - q[:, None] * q) * quotient(1.0, average(q) ** 2)
        apart = max(self.batch.alone(relative * average(q) ** 2, q), 0.0) if self.lone else 0.0
        return max(self.batch.pair_mean(relative), 0.0), apart

    def _own(self) -> float:
        """Return what of a unit's square one example has of its own, beside what the gradient had.

        Of two examples of any size less is in common than of those that the batch's mean is of.
        """
        base, batch = self.base, self.batch
        if not self.lone or batch.followed < 2:
            return self.apart - base.unit_apart
        met = quotient(batch.distinct_mean(self.squares), average(self.q_h) ** 2)
        return self.apart - base.unit_apart + 2 * base.by_size * met

    def _over_positions(self, z: Field) -> tuple[float, Array]:
        """Return the same over positions too: the mean of (1 + Cov(h², h'²)/q²)(1 + 2 (g·g')²/q²) - 1 over pairs.

        And by lag what of it is not g's own, by which the mean squares of two places vary together.
        """
        masses = (self.h.square**2).mean(0)
        masses[: self.source.settled + 1] = 0.0
        of_h = z.covariances(masses / max(float((self.h.q**2).mean()), 1e-300))
        of_g = self._of_gradient(z.sizes).squares
        met = [h * (1 + 2 * g) for h, g in zip(of_h, of_g, strict=True)]
        added, own = z.averaged((met[0], met[1]), self.batch.size), z.averaged(of_g, self.batch.size)
        pairs = self.field.pairs if self.field else z.pairs
        return float((pairs * (added + 2 * own)).sum()), added / self.source.units

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
        agreed = self.agreed
        if self.lone and len(agreed) < 2:
            return self.base.excess * agreed
        left, overlap, typical = self.batch.pair_mean(agreed), self.overlap, 1.0
        if self.lone:
            left, overlap = self.batch.distinct_mean(agreed), self.batch.pair_overlap(self.base)
            weight = self.batch.concentration(noises.covariance(self.base.spread, self.base.spread)[1])
            met = quotient(self.batch.distinct_mean(self.base.product), average(self.base.q))
            typical = of_typical(met, overlap, weight)
        shared = self.total - self.apart / self.batch.size + 1
        blur = shared * (1 - overlap * left) - left * blurring(overlap)
        fresh = typical * max(blur, 0.0) / self.source.units
        if self.lone:
            self.tilt *= quotient(overlap * left, overlap * left + fresh)
            self.by_size = self.base.by_size * left + fresh - self._of_any(met, overlap, left, shared)
        return self.base.excess * agreed + fresh

    def _of_any(self, met: float, overlap: float, left: float, shared: float) -> float:
        """Return what the units add to the squared cosine of any two examples, whatever their sizes."""
        cosine = overlap - self.base.by_size
        blur = shared * (1 + 2 * cosine) / (1 + 2 * overlap) * (1 - cosine * left) - left * blurring(cosine)
        return of_typical(met, cosine, 0.5) * max(blur, 0.0) / self.source.units

    def _alignment(self) -> tuple[float, float]:
        """Return the alignments behind h: each grows by what h² h'² varies as it does behind a matrix.

        Of two examples what h and h' do not share is lost.
        """
        base, units = self.base, self.source.units
        a, x = base.alignment, base.crossed
        if not self.plain:
            fourth = max(self._fourth() - 1, 0.0) / units
            return min(a + fourth * aligning(a, a), 1.0), min(x + fourth * aligning(a, x), 1.0)
        own = max((self.total + self.apart * (1 - 1 / self.batch.size) + 1) / 3 - 1, 0.0) / units
        aligned = min(a + own * aligning(a, a), 1.0)
        if self.batch.followed < 2:
            self.meeting = self.meeting.raised(own, own)
            return aligned, aligned
        left, fourth = self.batch.distinct_mean(self.agreed), self.total - self.apart / self.batch.size + 1
        fourth /= 1 + 2 * self.batch.pair_overlap(base)
        grown = max(fourth - left, 0.0) / units
        self.meeting = self.meeting.raised(own, grown, left)
        return aligned, min(left * x + grown * aligning(a, x), aligned)

    def _agreement(self) -> tuple[Array, float]:
        """Return the square of E[h h']/E[h²] for all pairs, the mean over draws, and the tilt of what is kept."""
        agreed = ((self.q_h[:, None] + self.q_h) / 2 - self.d_h) ** 2 / max(average(self.q_h) ** 2, 1e-300)
        parting, onward = self.source.parting, self.source.onward
        if not self.plain or len(agreed) < 2 or parting is None or not parting.cosine.gap > 0:
            return np.asarray(agreed), 0.0
        masses, gap = over_rows(self.h.plain**2), min(self.batch.distinct_mean(self.source.gap), 2.0)
        tilt = in_front(parting.cosine, over_rows(onward.expansion.plain**2), self.base.tilt) if onward else 0.0
        mean, tilt = kept(parting.cosine, masses, tilt)
        here = (1 - float(decay(np.array([gap]))[0] @ masses) / max(float(masses.sum()), 1e-300)) ** 2
        more = quotient(mean, here) or 1.0
        return np.asarray(np.minimum(agreed * (1 + self.batch.off_diagonal(more - 1)), np.maximum(agreed, 1.0))), tilt

    def _spread(self, noises: Noises) -> Spread:
        """Return the spread: that of g, of the source through h, of the forward noise that it shares, and its own."""
        base, source = self.base, self.source
        if not self.lone:
            return base.spread.plus(source.spread.scaled(self.s)).plus(self._extra(noises, 0.0))
        apart = noises.covariance(base.spread, base.spread)[1]
        weighed, gathered = self.batch.concentration(apart), self.batch.gathered(apart)
        curve = passed(self.values, average(self.h.q), source.before, noises, self.batch, weighed)
        one = 1 / self.batch.size
        through = curve.of(source.before)
        own = source.noise.centred.scaled(self.s).plus(self._extra(noises, gathered - one, through).centred)
        added = through.plus(own)
        uneven = (weighed - one) * max(self.apart - base.unit_apart, 0.0)
        fresh = log_mean((max(self.total - base.unit_variance, 0.0) + uneven - self._kept(0.0)) / source.units)
        fresh -= self._taken(noises)[0]
        spread = base.spread.plus(added).shifted(fresh + (1 - weighed) * noises.covariance(base.spread, added)[1])
        along = noises.covariance(base.spread.plus(through), source.before)[0]
        spread = spread.shifted(0.0, skewed(curve.bent, along))
        return replace(spread, trail=self._trail(curve, noises))

    def _trail(self, curve: Curve, noises: Noises) -> Trail | None:
        """Return the trail of the product."""
        base, source = self.base, self.source
        before = base.spread.trail
        if source.trail is None and before is not None:
            source.trail = before_bent(source, before, self.batch, noises)
        if source.trail is None:
            return None
        if before is None:
            before = begun_back(base.spread, base.along + 1 / source.units, self.batch, noises)
        one = 1 - 1 / self.batch.size
        mean = self.total - base.unit_variance + one * (self.apart - base.unit_apart) - self._kept(one)
        mean = max(mean, 0.0) / source.units / 2
        known, fresh = self._noise()
        passage = Passage(curve, self.s, known, mean, 3.0, fresh)
        return passage.back(before, source, self.wave, self.favour, self.batch, noises)

    def _kept(self, one: float) -> float:
        """Return what of h²'s variance goes with squares that an orthogonal matrix keeps, and so with `before`."""
        whole, apart = self.source.kept
        return self.s * self.s * (whole + one * apart)

    def _noise(self) -> tuple[Spread, tuple[float, float]]:
        """Return the noise beside that of the source's own size: what is the onward function's, and what is fresh."""
        base, source, s = self.base, self.source, self.s
        apart = max(self.apart - base.unit_apart - s * s * source.own_apart, 0.0)
        extra = max(self.total - base.unit_variance - s * s * source.gaussian_variance, 0.0)
        onward = source.onward
        if onward is None or onward.variance <= 0:
            return CERTAIN, (extra / source.units, apart / source.units)
        share, alone = self._shares(onward)
        share = within_bounds(share, extra, onward.variance)
        alone = within_bounds(alone, apart, onward.apart)
        rest = max(extra - share * share * onward.variance, 0.0), max(apart - alone * alone * onward.apart, 0.0)
        known = onward.noise.centred.scaled(share).plus(onward.alone.centred.scaled(alone))
        return known, (rest[0] / source.units, rest[1] / source.units)

    def _shares(self, onward: Onward) -> tuple[float, float]:
        """Return what of the onward function's noise, the batch's and a single example's, the noise of h has."""
        if self.shares is None:
            self.shares = self._found_shares(onward)
        return self.shares

    def _found_shares(self, onward: Onward) -> tuple[float, float]:
        source, s = self.source, self.s
        met, met_apart = self._met(onward.expansion)
        slopes = s * sensitivity(onward.expansion) if source.varies else 0.0
        alone = (met_apart - slopes * source.own_apart) / onward.apart if onward.apart > 0 else 0.0
        return (met - slopes * source.gaussian_variance) / onward.variance, alone

    def _extra(self, noises: Noises, heavier: float, through: Spread = CERTAIN) -> Spread:
        """Return the noise beside that of the source's own size: with the forward noise it has a share in common."""
        base, source, s = self.base, self.source, self.s
        known = s * s * source.own_apart
        apart, each = (
            max(x - known, 0.0) / source.units if self.lone else 0.0 for x in (self.apart - base.unit_apart, self.own)
        )
        before = base.unit_variance if source.field is None else min(base.unit_variance, 2 * self.overlap)
        taken, less = self._taken(noises)
        each = max(each - less, 0.0)
        extra = (
            max(self.total - before - s * s * source.gaussian_variance, 0.0)
            + (heavier * apart + 2 * taken) * source.units
        )
        if source.onward is None or source.onward.variance <= 0:
            return noises.fresh(extra / source.units, each)
        onward = source.onward
        share, alone = self._shares(onward)
        if not self.plain:
            share, alone = within_bounds(share, extra, onward.variance), self._bounded(alone, each, onward)
        forms = onward.noise.centred.scaled(share), onward.alone.centred.scaled(alone)
        met_before = through.plus(source.noise.scaled(s)).plus(forms[1])
        if not self.plain:
            extra += heavier * self._further(met_before, noises) * source.units
            return self._shared(onward, share, forms[1], extra, each, noises)
        return self._meet(Sum(extra / source.units, each, *self._behind(onward), *forms), met_before, heavier, noises)

    def _bounded(self, alone: float, each: float, onward: Onward) -> float:
        """Return the share of the onward function's noise of one example that one of this variance has at most."""
        return within_bounds(alone, each * self.source.units, onward.apart)

    def _further(self, known: Spread, noises: Noises) -> float:
        """Return how much further apart sizes of single examples come by what is known of h."""
        base = self.base.spread
        return max(2 * noises.covariance(base, known)[1] + noises.covariance(known, known)[1], 0.0)

    def _shared(self, onward: Onward, share: float, alone: Spread, extra: float, each: float, noises: Noises) -> Spread:
        """Return the noise of so much per unit, of which the onward function has a share, and so much of an example."""
        units = self.source.units
        noise = noises.sharing(extra / units, onward.noise, onward.variance / units, share)
        if not each > 0:
            return noise
        return noise.plus(alone).plus(noises.own(max(each - noises.covariance(alone, alone)[1], 0.0)))

    def _meet(self, sum_: Sum, known: Spread, heavier: float, noises: Noises) -> Spread:
        """Return the noise of a sum that shares with the forward pass.

        By what is `known` of h, and by what g has met, sizes of single examples come further apart: that lets the
        batch's mean vary as what is new does.
        """
        base = self.base
        shared = base.meeting.forms_of_function(self.batch, leaning(base.along, 1 / self.source.units))
        known = known.plus(shared[1].scaled(sum_.share_alone))
        sum_ = replace(sum_, variance=sum_.variance + heavier * self._further(known, noises))
        noise, self.meeting = base.meeting.noise(sum_, shared, noises)
        return noise

    def _met(self, f: Expansion) -> tuple[float, float]:
        """Return the covariance of what h² and the onward f² of a unit vary by: over the batch, and of one example."""
        base, source, batch = self.base, self.source, self.batch
        square = source.covariance(self.h, f, source.settled, without=0 if source.varies else 2)
        size = average(self.q_h) * average(source.rows(f.q))
        if not self.plain:
            whole = quotient(batch.pair_mean(square), size)
            apart = batch.apart(square * quotient(1.0, size)) if self.lone else 0.0
            return whole + 2 * base.alignment * whole, apart
        joint = square * quotient(1.0, size)
        return batch.pair_mean(joint), batch.apart(joint)

    def _behind(self, onward: Onward) -> tuple[float, float]:
        """Return what the mean of h² g² has of the meeting, by which g is large where f is: the batch, one example."""
        square = self.source.covariance(self.h, onward.expansion, self.source.settled)
        square *= quotient(1.0, average(self.q_h) * average(self.source.rows(onward.expansion.q)) * self.source.units)
        return self.batch.pair_mean(square), self.batch.apart(square)
