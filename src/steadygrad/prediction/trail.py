"""A sample of draws of the logs of single examples' second moments, followed through functions as they are.

A form (spread.py) passes a function along a line, with its parabola for the mean (curve.py). Where a log wanders as
far as functions bend, as that of a GELU's signal does at its critical scale, the law behind many of them is none of a
sum of normal noises: a few examples leave the rest, and the gradient of a batch is theirs. So a sample is kept beside
the form, of the same noises twice: `bent`, where each function is applied to each example's log, and `straight`, where
it passed along the line that the form took. Where functions are powers the two are one, and none is kept.

Going back, W^T u has of u what lies along z = W x, (z·u)²/|x|², and else is fresh. In a draw in which the signal grew
much by a function that grows faster than a line, the radial slope is larger than any other, so that the gradient comes
to lie along the signal: the cosine of the two goes with the draw.

An orthogonal W keeps lengths, and W^T that of u with all of it that lies along z: what such layers add is only what
their functions do to a vector that is turned, and layers that add little are gathered (gathered.py).

Approximate: noises are normal; what a gradient has in common with other examples' signals, and later layers' with
earlier ones', is the form's alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .curve import FLAT, Curve
from .gathered import STEP, Ahead, Back
from .spread import ROUNDING, Noises, Spread
from .stretched import Among, everywhere, meetings
from .values import Array

if TYPE_CHECKING:
    from .batch import Batch
    from .source import Onward, Source, Wave

LOGS = 32768  # of a sample, draws times examples: quantiles of 2048 draws of 16 are known to a tenth of a deviation
MOST = 32  # examples of a draw; of a larger batch they stand for it
POINTS = 48  # at which a function's mean square is known, between the least log and the largest
ALIKE = 0.01  # of shares that examples have in a mean: of rows that differ by less quantiles are read once
STRAIGHT = 1e-3  # what a parabola bends a log by, relative to what it varies by: of less no sample is kept


@dataclass(frozen=True, slots=True)
class Trail:
    """Logs of single examples' second moments over draws, [draws, examples], as functions bend them and along lines.

    `cosines`: of a gradient and the signal of its example, in both; None of a signal. `ahead` and `back` are what it is
    still to pass, as a signal and as a gradient. `seen` is what was read of it where it stands.
    """

    bent: Array
    straight: Array
    cosines: tuple[Array, Array] | None = None
    ahead: Ahead | None = None
    back: Back | None = None
    seen: list[Seen] = field(default_factory=list)

    def plus(self, noise: Array) -> Trail:
        """Return the trail with a noise that both have."""
        return Trail(self.bent + noise, self.straight + noise, self.cosines)

    def shifted(self, by: float) -> Trail:
        """Return the trail with a shift."""
        if by == 0.0:
            return self
        if self.ahead is not None:
            return self.to_pass(self.ahead.shifted(by))
        return Trail(self.bent + by, self.straight + by, self.cosines)

    def beside(self, share: float, variance: float) -> Trail:
        """Return log(share q + 1 - share), share the part of q in the whole, for logs of this variance."""
        if share == 1.0:
            return self
        shift = share * (1 - share) * variance / 2
        if self.ahead is not None:
            return self.to_pass(self.ahead.beside(share, shift))
        bent = np.log(share * np.exp(self.bent) + 1 - share)
        return Trail(bent, share * self.straight + shift)

    def to_pass(self, ahead: Ahead) -> Trail:
        """Return the trail of a signal that stands, with this to pass."""
        return Trail(self.bent, self.straight, None, ahead, None, self.seen)

    def to_meet(self, back: Back) -> Trail:
        """Return the trail of a gradient that stands, with this to pass."""
        return Trail(self.bent, self.straight, self.cosines, None, back, self.seen)

    def begun(self, offsets: Array) -> Trail:
        """Return the trail of a signal that stands until what it is to pass is enough."""
        sizes = self.bent + offsets
        at = np.sinh(
            points_between(np.arcsinh(sizes))
        )  # near each other where most are, though a few have left the rest
        return self.to_pass(Ahead(sizes, at, at, np.zeros_like(at), float(self.straight.mean())))

    def begun_back(self, signal: Trail) -> Trail:
        """Return the trail of a gradient that stands until that of its signal moves."""
        assert signal.ahead is not None
        nothing = np.zeros_like(signal.ahead.at)
        return self.to_meet(Back(signal, nothing, nothing, nothing, nothing + 1, nothing, nothing))

    def moved(self, noises: Noises, offsets: Array | None = None) -> Trail:
        """Return the trail with what it was to pass; `offsets` are those of a signal's examples now."""
        if self.ahead is not None:
            assert offsets is not None
            return Trail(*self.ahead.moved(self, offsets, noises))
        return self if self.back is None else Trail(*self.back.moved(self, noises))

    def pulled(self, share: float, chance: float, pull: float, fresh: Array, units: Array) -> Trail:
        """Return the trail behind W^T: with c the cosine of u and z, |W^T u|² is |z|²/|x|² c² |u|², and what is fresh.

        Args:
            share: of z² that is (W x)², beside a bias.
            chance: of a square that lies along z of one that is fresh, 1/n.
            pull: by how much W^T g is larger than a fresh one in the moments.
            fresh: the noise of the sum.
            units: that of |z|²/|x|².
        """
        assert self.cosines is not None
        logs, left = [], []
        for log, c in zip((self.bent, self.straight), self.cosines, strict=True):
            along = share * c * c * np.exp(units)
            whole = (along + 1 - chance) * np.exp(fresh)
            logs.append(log + np.log(whole / pull))
            left.append(np.sign(c) * np.sqrt(np.minimum(along / whole, 1.0)))
        return Trail(logs[0], logs[1], (left[0], left[1]))

    def rotated(
        self, share: float, terms: float, units: float, fresh: tuple[float, float], less: float, noises: Noises
    ) -> Trail:
        """Return the trail behind W^T, W orthogonal: what lies along W x is kept whole, and so is the rest, or a part.

        (W^T u)·x is u·W x, and |W x|²/|x|² is terms/units, beside |W^T u|²/|u|². Of the rest's terms - 1 directions,
        any of which it has, units - 1 are kept where units are fewer: a share of that mean, and of relative variance
        2/units - 2/terms. That is `fresh`, with a single example's, and `less` what its log lies below.
        """
        assert self.cosines is not None
        wide = share * terms / units
        if terms <= units:
            known = self.cosines[0] * math.sqrt(wide), self.cosines[1] * math.sqrt(wide)
            return (
                self.to_meet(self.back.turned(math.sqrt(wide), 0.0, 0.0)) if self.back else replace(self, cosines=known)
            )
        rest = terms / units * max(units - 1, ROUNDING) / (terms - 1)
        if self.back is not None:
            back = self.back.turned(math.sqrt(wide / rest), 0.0, wide / rest - share)
            return self.to_meet(back.lowered(less - math.log(rest), fresh))
        logs, left, noise = [], [], np.exp(noises.normal(*fresh) - less)
        for log, c in zip((self.bent, self.straight), self.cosines, strict=True):
            whole = c * c * wide + (1 - share * c * c) * rest * noise
            logs.append(log + np.log(whole))
            left.append(np.clip(c * np.sqrt(wide / whole), -1, 1))
        return Trail(logs[0], logs[1], (left[0], left[1]))

    def turned(self, source: Source, wave: Wave, favour: float, noises: Noises) -> Trail:
        """Return the trail of a gradient times h(z) beside that of h, by what lies along the signal f(z).

        With c the cosine of g and f, that of g h and z is c E[f h z] + √(1 - c²) ξ/√n, and |g h|² is c² E[f² h²] +
        (1 - c²) E[h²], for f and z of unit size: ξ normal, of variance E[h² z²] - E[f h z]². `favour` is how much
        larger that is in the moments than of an independent gradient.
        """
        onward, known = source.onward, self.cosines
        assert known is not None
        assert source.trail is not None
        if onward is None:
            return self
        row, ahead = len(wave.values) // 2, source.trail.ahead
        x = source.trail.bent if ahead is None else ahead.at
        logs = points_between(x) if ahead is None else ahead.image
        tables = meetings(everywhere_of(onward, row), everywhere_of(wave, row), np.append(logs, 0.0))
        if self.back is not None:
            met, size, both = (t[:-1] for t in tables)
            rest = np.maximum(size - met * met, 0.0) / source.units
            return self.to_meet(self.back.turned(met, rest, both - 1, math.log(favour)))
        among = Among(x, logs)
        here = [among.of(t[:POINTS]) for t in tables], [t[POINTS] for t in tables]
        fresh, found = noises.each(1 / source.units), []
        for x, c, (met, size, both) in zip((self.bent, self.straight), known, here, strict=True):
            gain = 1 + c * c * (both - 1)
            rest = np.sqrt((1 - c * c) * np.maximum(size - met * met, 0.0))
            found.append((x + np.log(gain / favour), np.clip((c * met + rest * fresh) / np.sqrt(gain), -1, 1)))
        return Trail(found[0][0], found[1][0], (found[0][1], found[1][1]))

    def quantiles(self, shares: Array, sizes: Array, form: Array, straight: Array, mean: float) -> Array:
        """Return quantiles of the batch's log: those of its `form`, but where the sample says another by three errors.

        Those of the form `straight`, without what functions bend, move a quantile of the bent sample, by what they are
        beyond the straight one, as far as there the two go together. A form of signals, of this mean, is along lines
        that of the examples' mean log; one of gradients knows that examples weigh as much as they are large.

        Args:
            shares: of draws below.
            sizes: shares that examples have in the second moment.
            form: the quantiles of the form.
            straight: those of the form without what functions bend.
            mean: of the form.
        """
        seen = self._read(shares, sizes)
        gone = self._gone()
        if self.cosines is None:
            slope = self.ahead.line[0] if self.ahead else 1.0
            along = mean + slope * (seen.along - seen.mean)
        else:
            along = seen.along + gone
        low, middle, high = seen.bent + gone + seen.together * (straight - along)
        return np.where((form >= low) & (form <= high), form, middle)

    def _gone(self) -> float:
        """Return how far the sample has to go, on average."""
        if self.ahead is not None:
            return self.ahead.gone
        return self.back.gone if self.back is not None else 0.0

    def _read(self, shares: Array, sizes: Array) -> Seen:
        """Return what is read of the samples where they stand, once for all rows whose examples have these sizes."""
        if self.seen and self.seen[-1].answers(shares, sizes):
            return self.seen[-1]
        bent = _log_mean(self.bent, sizes)
        along = self.straight @ sizes if self.cosines is None else _log_mean(self.straight, sizes)
        order = np.argsort(bent)
        together = np.array([_slope(along[near], bent[near]) for near in (_near(order, p) for p in shares)])
        error = 3 * np.sqrt(shares * (1 - shares) / len(bent))
        found = np.array([np.quantile(bent, np.clip(shares + e, 0, 1)) for e in (-error, 0 * error, error)])
        self.seen.append(Seen(shares, sizes, found, np.quantile(along, shares), float(along.mean()), together))
        return self.seen[-1]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is read of a sample, for sizes of examples: quantiles at these shares, and what three errors are to both
    sides; of the straight one too, and its mean; by how much both go together at each.
    """

    shares: Array
    sizes: Array
    bent: Array
    along: Array
    mean: float
    together: Array

    def answers(self, shares: Array, sizes: Array) -> bool:
        """Whether it was read at these shares, for sizes like these."""
        return np.array_equal(self.shares, shares) and bool(np.all(np.abs(self.sizes - sizes) <= ALIKE * sizes))


def examples_of(batch: Batch) -> Array:
    """Return which followed example stands for each one of a sample."""
    count = min(batch.size, MOST)
    return np.asarray(batch.stand_in[np.arange(count) * batch.size // count])


def bends(source: Source, curve: Curve, noises: Noises) -> bool:
    """Whether a function is bent where the log of a source lies, and what bends it grows.

    A log that a function draws together, by a slope of less than one, forgets where it was: noises stay what it is of.
    So it does where the slope is one or less a deviation further, by what a parabola bends there. Powers bend
    nothing: what a bias has bent of the log before them stays what the form has of it.

    One deviation is a choice. What it leaves: of 6 layers of LogSigmoid, 16 wide, of torch's own weights or of 1.2 or 2
    over the root of the width, the form has 0.97 to 1.04 of the deviations that 4000 draws of log q have, the
    sample, begun at each bend, 0.94 to 1.07; of gradients both have down to 0.85, which the sample does not mend.
    """
    deviation = math.sqrt(sum(noises.covariance(source.before, source.before)))
    grows = curve.slope - 2 * abs(curve.bow) * deviation > 1
    bent = abs(curve.bow) > FLAT and abs(curve.bent) * deviation > STRAIGHT * curve.slope
    return bool(bent and grows and source.std.min() > 0 and not np.any(source.mean))


def begun(form: Spread, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a form that has not been bent yet."""
    if not noises.drawn[0]:
        count = min(batch.size, MOST)
        noises.drawn = LOGS // count, count
    level = form.mean - noises.covariance(form, form)[1] * (1 - 1 / batch.size) / 2
    noise = noises.sample(form) + np.zeros(noises.drawn) + level
    return Trail(noise, noise)


def before_bent(source: Source, g: Trail, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a source that is followed by functions only further behind, where a gradient comes from.

    Where that stands while its signal does, of the signal's logs there this source had the share that their variance is
    of theirs; what else it had is no more than what functions bend too little for a trail.
    """
    if g.back is None or g.back.signal.ahead is None:
        return begun(source.before, batch, noises)
    signal, own = g.back.signal, sum(noises.covariance(source.before, source.before))
    return replace(signal, ahead=g.back.signal.ahead.part(min(own / float(signal.bent.var()), 1.0)))


def begun_back(form: Spread, along: float, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a gradient's form: `along` is the mean square of its cosine with the signal."""
    trail = begun(form, batch, noises)
    c = np.clip(noises.each(max(along, 0.0)), -1, 1)
    return replace(trail, cosines=(c, c))


def of_units(source: Source, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a source's own units; where next to nothing they are in the form of what is to pass."""
    assert source.trail is not None
    if source.trail.ahead is not None:
        if sum(noises.covariance(source.noise, source.noise)) <= STEP**2:
            return source.trail.shifted(-_below(source, batch))
        source.trail = source.trail.moved(noises, offsets_of(source, batch))
    return source.trail.plus(drawn_units(source, batch, noises))


def drawn_units(source: Source, batch: Batch, noises: Noises) -> Array:
    """Return the sample of what a source's own units add to its log."""
    return noises.sample(source.noise) - _below(source, batch)


def _below(source: Source, batch: Batch) -> float:
    """Return what the log of the units' own mean square lies below that of its mean."""
    variance, apart = source.fresh
    return (variance + apart * (1 - 1 / batch.size)) / source.units / 2


def everywhere_of(wave: Wave | Onward, row: int) -> tuple[Array, Array]:
    """Return what is known of a function of one example, on the nodes and beyond."""
    row = min(row, len(wave.values) - 1)
    return everywhere(wave.values[row], None if wave.far is None else wave.far[min(row, len(wave.far) - 1)])


def offsets_of(source: Source, batch: Batch) -> Array:
    """Return by how much each example's log variance is beyond that of the row whose values are taken."""
    if source.alike or not source.std.min() > 0:
        return np.zeros(min(batch.size, MOST))
    return np.asarray(2 * np.log(source.std / source.std[len(source.std) // 2])[examples_of(batch)])


def points_between(logs: Array) -> Array:
    """Return points from the least log to the largest, 0 among what lies between."""
    return np.linspace(min(float(logs.min()), -STRAIGHT), max(float(logs.max()), STRAIGHT), POINTS)


def _log_mean(logs: Array, sizes: Array) -> Array:
    most = logs.max(1)
    return np.asarray(most + np.log(np.exp(logs - most[:, None]) @ sizes))


def _near(order: NDArray[np.intp], share: float) -> NDArray[np.intp]:
    """Return the fifth of the draws that lie around a quantile, of draws in their order."""
    count = max(len(order) // 5, 2)
    first = min(max(round(share * len(order)) - count // 2, 0), len(order) - count)
    return order[first : first + count]


def _slope(x: Array, y: Array) -> float:
    """Return the slope of y on x, from 0 to 1."""
    variance = float(x.var())
    return min(max(float(np.mean((x - x.mean()) * (y - y.mean()))) / variance, 0.0), 1.0) if variance > 0 else 1.0
