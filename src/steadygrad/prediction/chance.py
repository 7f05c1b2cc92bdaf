"""By how much products of two signals vary by chance: at different steps of a sequence, or of two examples.

Two independent vectors of n entries have a cosine whose square is 1/n. What a matrix makes of them has the same one,
and N of its units that are given on add 1/N to it; a bias, the same in both, has no part in it.
"""

from __future__ import annotations

import math

from . import hermite
from .batch import Batch
from .by_origin import ByOrigin
from .kinship import Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import Units, mean_share, shares, size
from .values import Moments


class Chance(ByOrigin[float]):
    """Variances of the covariances of two units, given all that their weights are given."""

    def __init__(self, kinship: Kinship, batch: Batch, units: Units) -> None:
        super().__init__()
        self.kinship, self.batch, self.units = kinship, batch, units

    def met(self, a: Moments, b: Moments) -> float:
        """Return that of two signals of one make."""
        return math.sqrt(self.of(a) * self.of(b))

    def given(self, m: Moments) -> float:
        """By how much products of distinct examples vary, over draws and over pairs."""
        if m.field is not None:
            return m.field.varied
        if len(m.q) < 2:
            return 0.0
        products, varied = m.product / size(m), self.batch.off_diagonal(m.excess)
        squares = self.batch.distinct_mean(products**2) - self.batch.distinct_mean(products) ** 2
        return min(max(squares + self.batch.distinct_mean(varied), 0.0), 1.0)

    def found(self, m: Moments, origin: Origin) -> float:
        """That of what went in, by the share squared that it has in what came out."""
        match origin:
            case Through(_, before, gain):
                return min((gain * size(before) / size(m)) ** 2 * self._of_entries(before), 1.0)
            case Function(source, values) if source.root is not None:
                f = hermite.expand(values)
                linear = float((f.plain[:, 1] ** 2).mean()) / max(float(f.q.mean()), 1e-300)
                return linear**2 * self.of(source.root)
            case Like():
                return self.given(m)
            case Sum(parts):
                given = zip(parts, shares(self.kinship, m, origin), strict=True)
                return min(sum(share * math.sqrt(self.of(part)) for (part, _), share in given) ** 2, 1.0)
            case Product(first, second):
                return mean_share(second) ** 4 * self.of(first) + mean_share(first) ** 4 * self.of(second)
            case Part(whole):
                return self.of(whole)
            case Filled():
                return 0.0
            case _:
                return self.given(m)

    def _of_entries(self, m: Moments) -> float:
        """Return that of vectors of so many entries, each a unit's."""
        units = self.units.of(m)
        return self.of(m) + (1 / units if units else 0.0)
