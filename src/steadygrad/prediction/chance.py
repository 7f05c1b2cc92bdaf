"""By how much products of two signals vary by chance: at different steps of a sequence, or of two examples.

Two independent vectors of n entries have a cosine whose square is 1/n. What a matrix makes of them has the same one,
and N of its units that are given on add 1/N to it; a bias, the same in both, has no part in it. Signals have it in
common by the weights that made them: of different weights nothing is left, whatever these were given.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import TypeAlias

from . import hermite
from .batch import Batch
from .by_origin import ByOrigin
from .kinship import Beside, Drawn, Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import Units, mean_share, shares, size
from .values import Array, Moments

ByWeights: TypeAlias = dict[Hashable, float]


class Chance(ByOrigin[ByWeights]):
    """Variances of the covariances of two units, given all that their weights are given, by the last weights."""

    def __init__(self, kinship: Kinship, batch: Batch, units: Units, *, over_draws: bool = False) -> None:
        super().__init__()
        self.over_draws = over_draws
        self.kinship, self.batch, self.units = kinship, batch, units

    def met(self, a: Moments, b: Moments) -> float:
        """Return that of two signals."""
        one, two = self.of(a), self.of(b)
        return sum(math.sqrt(v * two[key]) for key, v in one.items() if key in two)

    def given(self, m: Moments) -> ByWeights:
        """By how much products of distinct examples vary, over draws and over pairs."""
        return {None: self._of_examples(m)}

    def _of_examples(self, m: Moments) -> float:
        if m.field is not None:
            return m.field.drawn if self.over_draws else m.field.varied
        if len(m.q) < 2:
            return 0.0
        products, varied = m.product / size(m), self.batch.off_diagonal(m.excess)
        if self.over_draws:
            return self.batch.distinct_mean(varied)
        squares = self.batch.distinct_mean(products**2) - self.batch.distinct_mean(products) ** 2
        return min(max(squares + self.batch.distinct_mean(varied), 0.0), 1.0)

    def found(self, m: Moments, origin: Origin) -> ByWeights:
        """That of what went in, by the share squared that it has in what came out."""
        match origin:
            case Through(weight, before, gain, back=back):
                share = gain * size(before) / size(m)
                return {(weight, back): min(share**2 * self.of_entries(before), 1.0)}
            case Function(_, values, Moments() as base):
                f = hermite.expand(values)
                return _times(self.of(base), _part_of(f.mean, f.q))
            case Function(source, values) if source.root is not None:
                f = hermite.expand(values)
                return _times(self.of(source.root), _part_of(f.plain[:, 1], f.q))
            case Sum() | Beside() if not isinstance(origin, Like) and (isinstance(origin, Sum) or m.field is None):
                return self._of_sum(m, origin)
            case Product(first, second):
                factors = (first, mean_share(second) ** 2), (second, mean_share(first) ** 2)
                return _summed(_times(self.of(x), share) for x, share in factors)
            case Part(whole, features):
                return {(features, key): v for key, v in self.of(whole).items()}
            case Filled():
                return {}
            case Drawn(entries=entries):
                return {None: (m.field.count if m.field else 1) / entries}
            case _:
                return self.given(m)

    def _of_sum(self, m: Moments, origin: Sum | Beside) -> ByWeights:
        """Products of any two parts that have met the same weights vary as much as each with its like."""
        roots: ByWeights = {}
        for (part, _), share in zip(origin.parts, shares(self.kinship, m, origin), strict=True):
            for key, v in self.of(part).items() if share else ():
                roots[key] = roots.get(key, 0.0) + share * math.sqrt(v)
        return {key: min(r * r, 1.0) for key, r in roots.items()}

    def of_entries(self, m: Moments) -> float:
        """Return that of vectors of so many entries, each a unit's."""
        units = self.units.of(m)
        return sum(self.of(m).values()) + (1 / units if units else 0.0)


def _part_of(order: Array, q: Array) -> float:
    return float((order**2).mean()) / max(float(q.mean()), 1e-300)


def _times(found: ByWeights, share: float) -> ByWeights:
    return {key: share**2 * v for key, v in found.items()}


def _summed(terms: Iterable[ByWeights]) -> ByWeights:
    total: ByWeights = {}
    for term in terms:
        for key, v in term.items():
            total[key] = total.get(key, 0.0) + v
    return total
