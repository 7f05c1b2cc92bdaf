"""Which units a signal is large at, where a weight is met more than once.

A gate that is open for a unit at one step is open for it at the next, as both have the bias and what they met of the
same weights in common. So what went through the one is large where the other is, and E[x² y²] of their product is
beyond E[x²] E[y²]. To first order the log of a signal's square is linear in the Gaussian sources that it went through,
with E[x² ξ]/E[x²] for a slope; of two sums of them Σ a_i ξ_i and Σ b_j ξ_j with correlations ρ_ij

    E[x² y²] = E[x²] E[y²] exp(Σ_ij a_i b_j ρ_ij).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from . import hermite
from .kinship import Beside, Function, Kinship, Part, Product, Sum
from .source import Source
from .values import Moments

Slopes: TypeAlias = dict[int, tuple[Source, float]]

MOST = 64  # sources whose slopes are kept: the largest
SMALLEST = 0.01  # relative to the largest; smaller slopes are not kept
LARGEST = math.log(3.0)  # E[x² y²] is taken as no more than that of a Gaussian that meets itself


@dataclass(slots=True)
class Leanings:
    """Slopes of signals on the sources that they went through, each found once."""

    kinship: Kinship
    _known: dict[int, tuple[Moments, Slopes]] = field(default_factory=dict)

    def met(self, x: Moments, y: Slopes) -> float:
        """Return E[x² y²]/(E[x²] E[y²])."""
        mine = self.of(x)
        log = sum(a * b * self.kinship.correlation(s, t)[0] for s, a in mine.values() for t, b in y.values())
        return math.exp(min(max(log, -LARGEST), LARGEST))

    def of(self, m: Moments) -> Slopes:
        """Return the slopes of a signal."""
        found = self._known.get(id(m))
        if found is None:
            found = self._known[id(m)] = (m, _largest(self._found(m)))
        return found[1]

    def _found(self, m: Moments) -> Slopes:
        match m.origin:
            case Function(source, values, base):
                return _sum((self.of_function(source, values), 1.0), *([(self.of(base), 1.0)] if base else []))
            case Product(first, second):
                return _sum((self.of(first), 1.0), (self.of(second), 1.0))
            case Sum(parts):
                return _mean([(self.of(part), factor**2 * float(part.q.mean())) for part, factor in parts])
            case Beside(parts):
                return _mean([(self.of(part), share * float(part.q.mean())) for part, share in parts])
            case Part(whole):
                return self.of(whole)
            case _:
                return {}

    def of_function(self, source: Source, values: np.ndarray) -> Slopes:
        """Return the slopes of a function of a source: on the source, and on what its own size went through."""
        z, w = hermite.tables()[:2]
        square = (values**2).mean(0) * w
        size = float(square.sum())
        if size <= 0:
            return {}
        own = {id(source): (source, float(square @ z) / size)}
        power = float(square @ (z * z - 1)) / (2 * size)
        return _sum((own, 1.0), (self.of(source.root), power)) if source.root is not None else own


def _sum(*terms: tuple[Slopes, float]) -> Slopes:
    total: Slopes = {}
    for slopes, factor in terms:
        for key, (source, a) in slopes.items():
            total[key] = (source, factor * a + (total[key][1] if key in total else 0.0))
    return total


def _mean(terms: list[tuple[Slopes, float]]) -> Slopes:
    whole = sum(size for _, size in terms)
    return _sum(*((slopes, size / whole) for slopes, size in terms)) if whole > 0 else {}


def _largest(slopes: Slopes) -> Slopes:
    if not slopes:
        return slopes
    least = SMALLEST * max(abs(a) for _, a in slopes.values())
    kept = sorted(((k, v) for k, v in slopes.items() if abs(v[1]) > least), key=lambda item: -abs(item[1][1]))
    return dict(kept[:MOST])
