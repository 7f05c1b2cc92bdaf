"""How a signal was made: of which operators, of how many units, and how much of it is made by weights."""

from __future__ import annotations

import math
from collections.abc import Hashable

from .by_origin import ByOrigin
from .kinship import Beside, Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .values import Moments

SAME = 6  # operators back to which two signals of one make are alike


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


def make(m: Moments, depth: int = SAME) -> Hashable:
    """Return the operators that a signal came from, back to some depth: those of one make are compared."""
    if depth == 0:
        return None
    match m.origin:
        case Through(weight):
            return "through", weight
        case Function(source):
            return "function", make(source.root, depth - 1) if source.root is not None else None
        case Sum(parts):
            return "sum", *(make(part, depth - 1) for part, _ in parts)
        case Product(first, second):
            return "product", make(first, depth - 1), make(second, depth - 1)
        case Part(whole, features):
            return "part", features, make(whole, depth - 1)
        case _:
            return type(m.origin).__name__
