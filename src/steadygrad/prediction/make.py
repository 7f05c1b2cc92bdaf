"""How a signal was made: of which operators, of how many units, and how much of it is made by weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeAlias

from .by_origin import ByOrigin
from .kinship import Beside, Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .spread import CERTAIN, Spread
from .values import Moments

Terms: TypeAlias = Sequence[tuple[Moments, float]]


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
            case Beside(parts) if m.field is None:
                return self._beside(m, parts)
            case _:
                return 0.0

    def _beside(self, m: Moments, parts: tuple[tuple[Moments, float], ...]) -> float:
        """Gates of the same units side by side are as many; of units of their own Σ s²/n is left of 1/n, by shares."""
        counts = [self.of(part) for part, _ in parts]
        if len(set(counts)) == 1:
            return counts[0]
        shares = (share * size(part) / size(m) for part, share in parts)
        return 1 / sum(share**2 / n for share, n in zip(shares, counts, strict=True) if n)


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


def mixed(form: Callable[[Moments], Spread], kinship: Kinship, m: Moments, origin: Sum | Beside) -> Spread:
    """Return the form of a sum, or of signals side by side, from those of its parts."""
    whole = CERTAIN
    for (part, _), share in zip(origin.parts, shares(kinship, m, origin), strict=True):
        whole = whole.plus(form(part).scaled(share)) if share else whole
    return whole


def parted(one: Terms, two: Terms, least: float) -> Iterator[tuple[Moments, Moments, float]]:
    """Yield all pairs of parts of two signals, and the product of their shares where it is more than this."""
    for (a, r), (b, s) in itertools.product(one, two):
        if r * s > least:
            yield a, b, r * s


class Weights(ByOrigin[frozenset[Hashable]]):
    """Which weights a signal's units have met, and which part of what these make: signals of the same may be alike."""

    def given(self, m: Moments) -> frozenset[Hashable]:
        """None."""
        return frozenset()

    def found(self, m: Moments, origin: Origin) -> frozenset[Hashable]:
        """Those of the last sums over weights; of a gradient behind functions those of each one's signal."""
        match origin:
            case Through(weight, back=back):
                return frozenset(((weight, back),))
            case Like():
                return frozenset()
            case Function(source, _, base):
                root: frozenset[Hashable] = self.of(source.root) if source.root is not None else frozenset()
                return root if base is None else frozenset(((root, self._of_functions(base)),))
            case Sum(parts):
                return frozenset().union(*(self.of(part) for part, _ in parts))
            case Product(first, second):
                return self.of(first) | self.of(second)
            case Beside(parts):
                return frozenset((tuple(self.of(part) for part, _ in parts),))
            case Part(whole, features):
                return frozenset((features, weight) for weight in self.of(whole))
            case _:
                return frozenset()

    def _of_functions(self, g: Moments) -> frozenset[Hashable] | None:
        return self.of(g) if isinstance(g.origin, Function) else None
