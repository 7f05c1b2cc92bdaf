"""How a signal was made: of which operators, of how many units, and how much of it is made by weights."""

from __future__ import annotations

import math
from collections.abc import Hashable

from .by_origin import ByOrigin
from .kinship import Beside, Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .values import Moments


def size(m: Moments) -> float:
    """Return the mean second moment."""
    return max(float(m.q.mean()), 1e-300)


def mean_share(m: Moments) -> float:
    """Return the mean relative to the root of the second moment."""
    return float(m.mean.mean()) / math.sqrt(size(m))


class Units(ByOrigin[float]):
    """How many units of weights a signal has; 0 where none is known."""

    def given(self, m: Moments) -> float:
        """None."""
        return 0.0

    def found(self, m: Moments, origin: Origin) -> float:
        """Those of the last sums over weights."""
        match origin:
            case Through(units=units):
                return units
            case Like():
                return 0.0
            case Function(source):
                return source.units
            case Sum(parts):
                return max(self.of(part) for part, _ in parts)
            case Product(first, second):
                return max(self.of(first), self.of(second))
            case Part(whole, (_, int(features))):
                return float(features) if self.of(whole) else 0.0
            case _:
                return 0.0


class Made(ByOrigin[float]):
    """The share of a signal's size that is made by weights, and not given with a size of its own."""

    def __init__(self, kinship: Kinship) -> None:
        super().__init__()
        self.kinship = kinship

    def given(self, m: Moments) -> float:
        """None of it."""
        return 0.0

    def found(self, m: Moments, origin: Origin) -> float:
        """All behind weights; of a sum what its parts have."""
        match origin:
            case Through() | Filled() | Function():
                return 1.0
            case Like():
                return 0.0
            case Sum() | Beside():
                given = zip(origin.parts, shares(self.kinship, m, origin), strict=True)
                return min(max(sum(share * self.of(part) for (part, _), share in given), 0.0), 1.0)
            case Product(first, second):
                return max(self.of(first), self.of(second))
            case Part(whole):
                return self.of(whole)
            case _:
                return 0.0


def shares(kinship: Kinship, m: Moments, origin: Sum | Beside) -> list[float]:
    """Return d log E[m²]/d log E[p²] of each part p of a sum m = Σ f p, f E[p m]/E[m²]; side by side, of its share."""
    if isinstance(origin, Beside):
        return [share * size(part) / size(m) for part, share in origin.parts]
    if len(origin.parts) == 1:
        return [1.0]
    return [
        factor * kinship.of(part, m)[0] * math.sqrt(size(part) / size(m)) if part.q.any() else 0.0
        for part, factor in origin.parts
    ]


class Weights(ByOrigin[frozenset[Hashable]]):
    """Which weights a signal's units have met, and which part of what these make: signals of the same may be alike."""

    def given(self, m: Moments) -> frozenset[Hashable]:
        """None."""
        return frozenset()

    def found(self, m: Moments, origin: Origin) -> frozenset[Hashable]:
        """Those of the last sums over weights."""
        match origin:
            case Through(weight):
                return frozenset((weight,))
            case Like():
                return frozenset()
            case Function(source) if source.root is not None:
                return self.of(source.root)
            case Sum(parts):
                return frozenset().union(*(self.of(part) for part, _ in parts))
            case Product(first, second):
                return self.of(first) | self.of(second)
            case Part(whole, features):
                return frozenset((features, weight) for weight in self.of(whole))
            case _:
                return frozenset()
