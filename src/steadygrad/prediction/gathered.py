"""What a sample of logs is still to pass: functions and noises of many layers that do little, gathered to one step.

An orthogonal layer keeps lengths, so that what it adds is small, and a thousand of them would move each number of a
sample (trail.py) a thousand times by next to nothing. Until the noises that are gathered deviate by `STEP` the sample
stands, and functions are applied to points that its logs lie between: their composition is as it is. Noise that is
gathered does not pass the functions of its own step, which is the scheme of Euler and Maruyama for a stochastic
differential equation (Kloeden and Platen 1992, section 10.2): of functions of a log, which change where it changes by
1, it leaves out what goes with the square of a step. Rows between two steps are read from the form, beside the sample
where it stands.

A gradient moves where its signal did: noises that both have in common were drawn together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .spread import CERTAIN, Noises, Spread
from .stretched import Among
from .values import Array

if TYPE_CHECKING:
    from .trail import Trail

STEP = 0.05  # deviation of a log


@dataclass(frozen=True, slots=True)
class Passed:
    """What a function does at some log sizes: to the log, beside that at 0, and by how much the noise is larger there.

    `below` is what the log of a mean lies below that for the noise of it. `noise` and `fresh`, a form and what is
    beside it, are what it adds at 0, `variance` that of both; `line` is what it does to the straight sample, slope and
    offset.
    """

    logs: Array
    below: Array
    relative: Array
    line: tuple[float, float]
    noise: Spread
    variance: float
    fresh: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a sample of signals is to pass.

    `sizes`, [draws, examples], are logs of examples' sizes where the sample stands, beside that of the row whose values
    functions have, `at` points between which they lie, `image` where these are now; `varied` is the variance that they
    have gathered, `noise` its form at 0; `typical` is the straight sample's mean, `line` where it is now, by slope and
    offset.
    """

    sizes: Array
    at: Array
    image: Array
    varied: Array
    typical: float = 0.0
    noise: Spread = CERTAIN
    line: tuple[float, float] = (1.0, 0.0)

    @property
    def gone(self) -> float:
        """How far the straight sample is to go, on average."""
        return (self.line[0] - 1) * self.typical + self.line[1]

    def part(self, share: float) -> Ahead:
        """Return it for a layer further in front, whose logs a share of these was."""
        return Ahead(self.sizes, self.at, share * self.at, np.zeros_like(self.at), self.typical, line=(share, 0.0))

    def shifted(self, by: float) -> Ahead:
        """Return it with a shift."""
        line = self.line[0], self.line[1] + by
        return Ahead(self.sizes, self.at, self.image + by, self.varied, self.typical, self.noise, line)

    def beside(self, share: float, shift: float) -> Ahead:
        """Return it with log(share q + 1 - share) behind, along lines share log q + shift."""
        slope, offset = self.line
        image = np.log(share * np.exp(self.image) + 1 - share)
        varied, noise = self.varied * share**2, self.noise.scaled(share)
        line = share * slope, share * offset + shift
        return Ahead(self.sizes, self.at, image, varied, self.typical, noise, line)

    def through(self, passed: Passed) -> Ahead:
        """Return it with a function behind."""
        (slope, offset), (steep, shift) = self.line, passed.line
        varied = self.varied * steep**2 + passed.variance * passed.relative
        noise = self.noise.scaled(steep).plus(passed.noise)
        line = steep * slope, steep * offset + shift
        return Ahead(self.sizes, self.at, passed.logs - passed.below, varied, self.typical, noise, line)

    def moved(self, trail: Trail, offsets: Array, noises: Noises) -> tuple[Array, Array]:
        """Return the samples, bent and straight, where they are now."""
        noises.together(self.noise)
        among, noise = Among(self.sizes, self.at), noises.sample(self.noise)
        bent = among.of(self.image) - offsets + among.beside(self.varied) * noise
        return bent, self.line[0] * trail.straight + self.line[1] + noise


@dataclass(frozen=True, slots=True)
class Back:
    """What a sample of gradients is to pass, at the sizes that the sample of their `signal` has.

    `gain` and `below`: what is added to their logs, and taken from them, at the points of the signal's; `varied`,
    `noise`, `fresh`: noises there; `line`: what is added along lines, by the signal's straight sample. The cosines c of
    gradients and signals: `met`, `rest` and `both` are by what c grows at these points, what of variance is new in it,
    and by what the gradient grows with c²; `favour` is the log of what the moments have of that.
    """

    signal: Trail
    gain: Array
    below: Array
    varied: Array
    met: Array
    rest: Array
    both: Array
    noise: Spread = CERTAIN
    fresh: tuple[float, float] = (0.0, 0.0)
    line: tuple[float, float] = (0.0, 0.0)
    favour: float = 0.0

    @property
    def gone(self) -> float:
        """How far gradients are to go along lines, on average."""
        assert self.signal.ahead is not None
        return self.line[0] * self.signal.ahead.typical + self.line[1]

    @property
    def sizes(self) -> Array:
        """The sizes of the signals where they stand."""
        assert self.signal.ahead is not None
        return self.signal.ahead.sizes

    def through(self, passed: Passed, now: Ahead) -> Back:
        """Return it with a function of a signal behind, which the signal's sample is `now` to pass."""
        slope, offset = passed.line
        line = self.line[0] + slope * now.line[0], self.line[1] + offset + slope * now.line[1]
        return replace(
            self,
            gain=self.gain + passed.logs,
            below=self.below + passed.below,
            varied=self.varied + passed.variance * passed.relative,
            noise=self.noise.plus(passed.noise),
            fresh=(self.fresh[0] + passed.fresh[0], self.fresh[1] + passed.fresh[1]),
            line=line,
        )

    def turned(self, met: Array | float, rest: Array | float, both: Array | float, favour: float = 0.0) -> Back:
        """Return it with what turns gradients, as a layer does each."""
        found = self.met * met, self.rest + rest, self.both + both
        return replace(self, met=found[0], rest=found[1], both=found[2], favour=self.favour + favour)

    def lowered(self, by: float, fresh: tuple[float, float]) -> Back:
        """Return it with a noise, and lower by so much."""
        added = self.fresh[0] + fresh[0], self.fresh[1] + fresh[1]
        return replace(
            self,
            below=self.below + by,
            varied=self.varied + sum(fresh),
            line=(self.line[0], self.line[1] - by),
            fresh=added,
        )

    def moved(self, trail: Trail, noises: Noises) -> tuple[Array, Array, tuple[Array, Array]]:
        """Return the samples of gradients, bent and straight, and their cosines with the signals."""
        ahead, cosines = self.signal.ahead, trail.cosines
        assert ahead is not None
        assert cosines is not None
        among, here = Among(ahead.sizes, ahead.at), Among(ahead.sizes[:1] - self.signal.bent[:1], ahead.at)
        noise = noises.sample(self.noise) + noises.normal(*self.fresh)
        turns = self.met, self.rest, self.both
        fresh, typical = noises.each(1.0), Among(np.zeros(1), ahead.at)
        grown, left = _turned(cosines[0], [among.of(t) for t in turns], fresh)
        grown_straight, left_straight = _turned(cosines[1], [typical.of(t) for t in turns], fresh)
        bent = trail.bent + among.of(self.gain - self.below) - here.of(self.gain) + among.beside(self.varied) * noise
        straight = trail.straight + self.line[0] * self.signal.straight + self.line[1] + noise
        return bent + grown - self.favour, straight + grown_straight - self.favour, (left, left_straight)


def _turned(c: Array, turns: list[Array], fresh: Array) -> tuple[Array, Array]:
    """Return by what the log of a gradient grows with what lies along its signal, and the cosine that is left."""
    (met, rest, both), square = turns, c * c
    gain = 1 + square * both
    new = np.sqrt((1 - square) * np.maximum(rest, 0.0)) * fresh
    return np.log(gain), np.clip((c * met + new) / np.sqrt(gain), -1, 1)
