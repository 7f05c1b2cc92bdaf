"""The noise of a signal's own units: of the mean square of N units, given what their weights were given.

N units are N draws: the logs of two mean squares of one make covary by 1/N of what the squares of a unit do
(squares.py). So the noise of each is a sum of those of earlier signals of its make, one, two, four, ... of them back
and their mean, with the covariances said there, and of what is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from .by_origin import ByOrigin
from .kinship import Beside, Like, Origin, Sum
from .make import Units, Weights, mixed
from .spread import CERTAIN, Noises, Spread
from .squares import Squares
from .values import Array, Moments

RIGHT_TO = 0.02  # of covariances of noises, which are taken for those of nearly Gaussian units


@dataclass(slots=True)
class Make:
    """Signals of one make in their order with the noise of each, and the sum of all these."""

    members: list[tuple[Moments, Spread]] = field(default_factory=list)
    whole: Spread = CERTAIN

    def add(self, m: Moments, form: Spread) -> None:
        """Add the latest."""
        self.members.append((m, form))
        self.whole = self.whole.plus(form)

    def known(self, met: Callable[[Moments], float]) -> tuple[list[Spread], list[float]]:
        """Return noises, one, two, four, ... of them back and the mean of all, and what a new one has with each.

        With the mean it has the mean of that, between those that are looked at by straight lines.
        """
        lags = [1 << k for k in range(len(self.members).bit_length())]
        near = [self.members[-lag] for lag in lags]
        forms, with_each = [form for _, form in near], [met(m) for m, _ in near]
        count = len(self.members)
        if count > len(lags):
            forms.append(self.whole.scaled(1 / count))
            with_each.append(float(np.interp(np.arange(1, count + 1), lags, with_each).mean()))
        return forms, with_each


class OwnNoise(ByOrigin[Spread]):
    """Forms of what units add to the log of a size."""

    def __init__(self, squares: Squares, units: Units, noises: Noises) -> None:
        super().__init__()
        self.squares, self.units, self.noises, self.weights = squares, units, noises, Weights()
        self._makes: dict[Hashable, Make] = {}

    def given(self, m: Moments) -> Spread:
        """Nothing."""
        return CERTAIN

    def found(self, m: Moments, origin: Origin) -> Spread:
        """Return what units add, of all that made the signal; what a mask adds to it; side by side, of the parts."""
        match origin:
            case Sum(((part, _),)) if not isinstance(origin, Like):
                return self.of(part).plus(m.spread.centred).plus(part.spread.centred.scaled(-1.0))
            case Beside(parts) if m.field is not None or len({self.units.of(part) for part, _ in parts}) > 1:
                return mixed(self.of, self.squares.kinship, m, origin)
            case _:
                return self._of_units(m, origin)

    def _of_units(self, m: Moments, origin: Origin) -> Spread:
        units = self.units.of(m)
        if not units or not self.squares.made.of(m):
            return CERTAIN
        make = self._makes.setdefault((type(origin), self.weights.of(m), units), Make())
        form = self._drawn(m, units, make)
        make.add(m, form)
        return form

    def _drawn(self, m: Moments, units: float, make: Make) -> Spread:
        """Return the noise of the mean square of so many units, given those of earlier signals."""
        own, apart = self.squares.over_batch(self.squares.of(m, m), units)
        forms, met = make.known(lambda other: self.squares.over_batch(self.squares.of(m, other), units)[0])
        among = np.array([[self.noises.covariance(a, b)[0] for a in forms] for b in forms])
        known = CERTAIN
        for form, share in zip(forms, projected(among, np.array(met), own), strict=True):
            known = known.plus(form.scaled(share))
        left, left_apart = self.noises.covariance(known, known)
        return known.plus(self.noises.fresh(own - left).centred).plus(self.noises.own(apart - left_apart))


def projected(among: Array, met: Array, most: float) -> Array:
    """Return the shares of known noises of these covariances in one that has these with them, of variance `most`.

    Of noises that are nearly one, what they differ by is not made more of than covariances are right to.
    """
    if not len(met) or not np.diag(among).any():
        return np.zeros(len(met))
    found = np.linalg.lstsq(among, met, rcond=RIGHT_TO)[0]
    explained = float(found @ among @ found)
    return np.asarray(found * min(math.sqrt(most / explained), 1.0) if explained > 0 else found)
