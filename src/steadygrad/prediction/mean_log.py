"""The mean of the log of a gradient's size where weights are met more than once.

Moments of a gradient are those over all draws, so a size of unit mean that is close to a log-normal one has the mean
log -V/2, V its variance: of a sum over steps less than the mean of the steps' own. What a loss puts beside that is
inherited, by the shares of a sum.
"""

from __future__ import annotations

from .by_origin import ByOrigin
from .kinship import Beside, Drawn, Function, Kinship, Like, Origin, Part, Sum, Through
from .make import shares
from .spread import Noises
from .values import Moments


class Offset(ByOrigin[float]):
    """By how much the mean of a log is beyond -V/2."""

    def __init__(self, kinship: Kinship, noises: Noises) -> None:
        super().__init__()
        self.kinship, self.noises = kinship, noises

    def given(self, m: Moments) -> float:
        """As its form says."""
        return m.spread.mean + self.noises.covariance(m.spread, m.spread)[0] / 2

    def found(self, m: Moments, origin: Origin) -> float:
        """Return that of what came in; nothing of independent entries."""
        match origin:
            case Through(_, before) | Part(before) | Function(_, _, Moments() as before):
                return self.of(before)
            case Sum() | Beside() if not isinstance(origin, Like):
                given = zip(origin.parts, shares(self.kinship, m, origin), strict=True)
                return sum(share * self.of(part) for (part, _), share in given if share)
            case Drawn():
                return 0.0
            case _:
                return self.given(m)
