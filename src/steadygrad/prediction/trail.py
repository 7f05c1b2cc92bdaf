"""A sample of draws of the logs of single examples' second moments, followed through functions as they are.

A form (spread.py) passes a function along a line, with its parabola for the mean (curve.py). Where a log wanders as
far as functions bend, as that of a GELU's signal does at its critical scale, the law behind many of them is none of a
sum of normal noises: a few examples leave the rest, and the gradient of a batch is theirs. So a sample is kept beside
the form, of the same noises twice: `bent`, where each function is applied to each example's log, and `straight`, where
it passed along the line that the form took. Where functions are powers the two are one, and none is kept.

Going back, W^T u has of u what lies along z = W x, (z·u)²/|x|², and else is fresh. In a draw in which the signal grew
much by a function that grows faster than a line, the radial slope is larger than any other, so that the gradient comes
to lie along the signal: the cosine of the two goes with the draw.

Approximate: noises are normal; what a gradient has in common with other examples' signals, and later layers' with
earlier ones', is the form's alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .curve import Curve
from .spread import Noises, Spread
from .stretched import everywhere, meetings, powers_at
from .values import Array

if TYPE_CHECKING:
    from .batch import Batch
    from .source import Onward, Source, Wave

LOGS = 32768  # of a sample, draws times examples: quantiles of 2048 draws of 16 are known to a tenth of a deviation
MOST = 32  # examples of a draw; of a larger batch they stand for it
POINTS = 48  # at which a function's mean square is known, between the least log and the largest
NOTHING = 1e-6  # of a kurtosis: less than this of it is what differences between points leave
STRAIGHT = 1e-3  # what a parabola bends a log by, relative to what it varies by: of less no sample is kept


@dataclass(frozen=True, slots=True)
class Trail:
    """Logs of single examples' second moments over draws, [draws, examples], as functions bend them and along lines.

    `cosines`: of a gradient and the signal of its example, in both; None of a signal.
    """

    bent: Array
    straight: Array
    cosines: tuple[Array, Array] | None = None

    def plus(self, noise: Array | float) -> Trail:
        """Return the trail with a noise, or a shift, that both have."""
        return replace(self, bent=self.bent + noise, straight=self.straight + noise)

    def beside(self, share: float, variance: float) -> Trail:
        """Return log(share q + 1 - share), share the part of q in the whole, for logs of this variance."""
        if share == 1.0:
            return self
        bow = share * (1 - share)
        bent = np.log(share * np.exp(self.bent) + 1 - share)
        return Trail(bent, share * self.straight + bow * variance / 2)

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
        row, at = len(wave.values) // 2, source.trail.bent
        logs = _points(at)
        tables = meetings(everywhere_of(onward, row), everywhere_of(wave, row), np.append(logs, 0.0))
        here = [np.interp(at, logs, t[:POINTS]) for t in tables], [t[POINTS] for t in tables]
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
        bent = _log_mean(self.bent, sizes)
        if self.cosines is None:
            along = self.straight @ sizes
            along += mean - along.mean()
        else:
            along = _log_mean(self.straight, sizes)
        order = np.argsort(bent)
        together = np.array([_slope(along[near], bent[near]) for near in (_near(order, p) for p in shares)])
        further = together * (straight - np.quantile(along, shares))
        error = 3 * np.sqrt(shares * (1 - shares) / len(bent))
        low, high = (np.quantile(bent, np.clip(shares + e, 0, 1)) + further for e in (-error, error))
        return np.where((form >= low) & (form <= high), form, np.quantile(bent, shares) + further)


@dataclass(frozen=True, slots=True)
class Passage:
    """How a form passed a function: its curve, the slope of the units' own noise, and a sample of what noise is beside.

    `mean` is what the log of a mean square lies below that of the mean; `fourth` the fourth moment over the squared
    second of what the function is multiplied by: 1, or 3 of a gradient.
    """

    curve: Curve
    slope: float
    noise: Array
    mean: float
    fourth: float = 1.0

    def of(self, source: Source, wave: Wave, batch: Batch, noises: Noises) -> Trail:
        """Return what a function makes of the trail of a source.

        What noise is beside is as large as the kurtosis of the function at each example's size says.
        """
        before = source.trail
        assert before is not None
        row, units = len(wave.values) // 2, noises.sample(source.noise)
        offsets = _offsets(source, wave, row, batch)
        x = before.bent + units + offsets
        logs = _points(x)
        squares, fourths = powers_at(everywhere_of(wave, row), np.append(logs, offsets))
        known = np.log(squares)
        whole = self.fourth * (fourths[:POINTS] / squares[:POINTS] ** 2 - 1)
        own = whole - 2 * np.gradient(known[:POINTS], logs) ** 2
        own = np.where(own > NOTHING * whole, own, 0.0)
        bent = np.interp(x, logs, known[:POINTS]) - known[POINTS:]
        bent += np.sqrt(_relative(x, logs, own)) * self.noise - self.mean * _relative(x, logs, whole)
        line = self.curve.level + self.curve.slope * (before.straight - source.before.mean)
        return Trail(bent, line + self.slope * units + self.noise - self.mean)


def examples_of(batch: Batch) -> Array:
    """Return which followed example stands for each one of a sample."""
    count = min(batch.size, MOST)
    return np.asarray(batch.stand_in[np.arange(count) * batch.size // count])


def bends(source: Source, curve: Curve, noises: Noises) -> bool:
    """Whether a function is bent where the log of a source lies, and what bends it grows.

    A log that a function draws together, by a slope of less than one, forgets where it was: noises stay what it is of.
    So it does where the slope is one or less a deviation further, by what a parabola bends there.

    One deviation is a choice. What it leaves: of 6 layers of LogSigmoid, 16 wide, of torch's own weights or of 1.2 or 2
    over the root of the width, the form has 0.97 to 1.04 of the deviations that 4000 draws of log q have, the
    sample, begun at each bend, 0.94 to 1.07; of gradients both have down to 0.85, which the sample does not mend.
    """
    bend = abs(curve.bow) * math.sqrt(sum(noises.covariance(source.before, source.before)))
    grows = curve.slope - 2 * bend > 1
    return bool(bend > STRAIGHT * curve.slope and grows and source.std.min() > 0 and not np.any(source.mean))


def begun(form: Spread, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a form that has not been bent yet."""
    if not noises.drawn[0]:
        count = min(batch.size, MOST)
        noises.drawn = LOGS // count, count
    level = form.mean - noises.covariance(form, form)[1] * (1 - 1 / batch.size) / 2
    noise = noises.sample(form) + np.zeros(noises.drawn) + level
    return Trail(noise, noise)


def begun_back(form: Spread, along: float, batch: Batch, noises: Noises) -> Trail:
    """Return the trail of a gradient's form: `along` is the mean square of its cosine with the signal."""
    trail = begun(form, batch, noises)
    c = np.clip(noises.each(max(along, 0.0)), -1, 1)
    return replace(trail, cosines=(c, c))


def of_units(source: Source, batch: Batch, noises: Noises) -> Array:
    """Return the sample of what a source's own units add to its log."""
    mean = (source.own_variance + source.own_apart * (1 - 1 / batch.size)) / source.units / 2
    return noises.sample(source.noise) - mean


def everywhere_of(wave: Wave | Onward, row: int) -> tuple[Array, Array]:
    """Return what is known of a function of one example, on the nodes and beyond."""
    row = min(row, len(wave.values) - 1)
    return everywhere(wave.values[row], None if wave.far is None else wave.far[min(row, len(wave.far) - 1)])


def _offsets(source: Source, wave: Wave, row: int, batch: Batch) -> Array:
    """Return by how much each example's log variance is beyond that of the row whose values are taken."""
    if len(wave.values) == 1 or not source.std.min() > 0:
        return np.zeros(min(batch.size, MOST))
    return np.asarray(2 * np.log(source.std / source.std[row])[examples_of(batch)])


def _points(logs: Array) -> Array:
    return np.linspace(min(float(logs.min()), -STRAIGHT), max(float(logs.max()), STRAIGHT), POINTS)


def _relative(x: Array, logs: Array, table: Array) -> Array:
    """Return a quantity at x relative to that at the reference, 0; one where it is nothing there."""
    here = float(np.interp(0.0, logs, table))
    return np.asarray(np.interp(x, logs, table / here)) if here > 0 else np.ones_like(x)


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
