"""What a function does to a sample of draws of the logs of its arguments, and of its gradients.

A trail (trail.py) passes a function at once, each example's log on its own, or where functions and layers add little is
told what it is to pass (gathered.py). Beside what the function makes of a log stands the noise of finitely many units,
which is as large as the kurtosis of the function at that size says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .curve import Curve
from .gathered import STEP, Passed
from .spread import Noises, Spread
from .stretched import Among, powers_at
from .trail import POINTS, Trail, everywhere_of, offsets_of, points_between
from .values import Array

if TYPE_CHECKING:
    from .batch import Batch
    from .source import Source, Wave

NOTHING = 1e-6  # of a kurtosis: less than this of it is what differences between points leave


@dataclass(frozen=True, slots=True)
class Passage:
    """How a form passed a function: its curve, the slope of the units' own noise, and what noise is beside.

    That is a form, `noise`, and what is independent of all, `fresh`: variances, of the batch's mean and of single
    examples. `mean` is what the log of a mean square lies below that of the mean; `fourth` the fourth moment over the
    squared second of what the function is multiplied by: 1, or 3 of a gradient.
    """

    curve: Curve
    slope: float
    noise: Spread
    mean: float
    fourth: float = 1.0
    fresh: tuple[float, float] = (0.0, 0.0)

    def of(self, source: Source, wave: Wave, batch: Batch, noises: Noises) -> Trail:
        """Return what a function makes of the trail of a source.

        What noise is beside is as large as the kurtosis of the function at each example's size says. Of orthogonal
        layers that add little it is gathered.
        """
        offsets = offsets_of(source, batch)
        form = self._form(source)
        if not self._gathers(source, form, offsets, noises):
            return self._at_once(source, wave, offsets, noises)
        assert source.trail is not None
        assert source.trail.ahead is not None
        passed = self._passed(source, wave, source.trail.ahead.image, form, noises)
        return source.trail.to_pass(source.trail.ahead.through(passed))

    def back(self, before: Trail, source: Source, wave: Wave, favour: float, batch: Batch, noises: Noises) -> Trail:
        """Return the trail of a gradient times a function, where the signal stood when it passed its own."""
        assert source.trail is not None
        ahead = source.trail.ahead
        if before.back is not None and (ahead is None or before.back.sizes is not ahead.sizes):
            before = before.moved(noises)
        if ahead is None:
            offsets = offsets_of(source, batch)
            through = self._at_once(source, wave, offsets, noises)
            turned = before.turned(source, wave, favour, noises)
            return Trail(turned.bent + through.bent, turned.straight + through.straight, turned.cosines)
        before = before if before.back else before.begun_back(source.trail)
        turned = before.turned(source, wave, favour, noises)
        assert turned.back is not None
        passed = self._passed(source, wave, ahead.image, self._form(source), noises)
        return turned.to_meet(turned.back.through(passed, ahead))

    def _gathers(self, source: Source, form: Spread, offsets: Array, noises: Noises) -> bool:
        """Whether what is to pass is to be gathered; a signal that was to pass more than a step is moved."""
        before = source.trail
        assert before is not None
        if before.ahead is not None:
            whole = before.ahead.noise.scaled(self.curve.slope).plus(form)
            if source.plain or sum(noises.covariance(whole, whole)) > STEP**2:
                source.trail = before = before.moved(noises, offsets)
        if source.plain or sum(noises.covariance(form, form)) > STEP**2:
            return False
        if before.ahead is None:
            source.trail = before.begun(offsets)
        return True

    def _form(self, source: Source) -> Spread:
        return source.noise.centred.scaled(self.slope).plus(self.noise)

    def _at_once(self, source: Source, wave: Wave, offsets: Array, noises: Noises) -> Trail:
        before = source.trail
        assert before is not None
        units = noises.sample(source.noise)
        noise = noises.sample(self.noise) + noises.normal(*self.fresh)
        x = before.bent + units + offsets
        logs = points_between(x)
        f = everywhere_of(wave, len(wave.values) // 2)
        squares, fourths = powers_at(f, np.append(logs, offsets), source.kurtosis)
        known, among = np.log(squares), Among(x, logs)
        own, new = self._varied(source, squares[:POINTS], fourths[:POINTS], np.gradient(known[:POINTS], logs))
        bent = among.of(known[:POINTS]) - known[POINTS:]
        bent += among.beside(own) * noise - self.mean * among.relative(new)
        line = self.curve.level + self.curve.slope * (before.straight - source.before.mean)
        return Trail(bent, line + self.slope * units + noise - self.mean)

    def _passed(self, source: Source, wave: Wave, logs: Array, form: Spread, noises: Noises) -> Passed:
        """Return what the function does at some logs, and the noise of this form."""
        at_0 = np.append(logs, 0.0)
        squares, fourths = powers_at(everywhere_of(wave, len(wave.values) // 2), at_0, source.kurtosis)
        known, steps = np.log(squares), _steps(logs)
        slopes = np.divide(_steps(known[:-1]), steps, out=np.zeros_like(steps), where=steps != 0)
        own, new = self._varied(source, squares, fourths, np.append(slopes, self.slope))
        own, new = (x[:-1] / x[-1] if x[-1] > 0 else np.ones_like(logs) for x in (own, new))
        slope = self.curve.slope
        line = slope, self.curve.level - slope * source.before.mean - self.mean
        variance = sum(noises.covariance(form, form)) + sum(self.fresh)
        return Passed(known[:-1] - known[-1], self.mean * new, own, line, form, variance, self.fresh)

    def _varied(self, source: Source, squares: Array, fourths: Array, slopes: Array) -> tuple[Array, Array]:
        """Return what of a unit's relative variance is beside squares of z, and what of it is new."""
        whole = self.fourth * (fourths / squares**2 - 1)
        of_squares = 2 * slopes**2
        own = whole - of_squares
        own = np.where(own > NOTHING * whole, own, 0.0)
        return own, whole if source.free == 1 else own + source.free * of_squares


def _steps(x: Array) -> Array:
    """Return how far numbers on both sides of each are apart, at the ends that itself is from the next."""
    return np.concatenate([x[1:2] - x[:1], x[2:] - x[:-2], x[-1:] - x[-2:-1]])
