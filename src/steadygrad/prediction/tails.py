"""What weights and biases that are not Gaussian leave of the fourth cumulant of a unit, where they are met again.

A unit that is to first order linear in its weights w_j and its bias β, Σ_j x_j w_j + s β, has with another such signal
of the same unit the fourth cumulant κ_w Σ_j x_j² x'_j² + κ_β s² s'²: a bias counts by the share that it has in both,
the n weights of a row by 1/n whatever their inputs, since no cosine of these is in it.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from . import hermite
from .by_origin import ByOrigin
from .kinship import Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import mean_share, shares, size
from .source import sensitivity
from .values import Moments

Shares: TypeAlias = dict[int, tuple[float, float]]
Loads: TypeAlias = tuple[Shares, Shares]
"""By weight: κ/n and the share of the signal's size; by bias: κ and E[m β] relative to the root of both sizes."""


class Tails(ByOrigin[Loads]):
    """Shares of weights and biases in signals."""

    def __init__(self, kinship: Kinship) -> None:
        super().__init__()
        self.kinship = kinship

    def met(self, a: Moments, b: Moments) -> float:
        """Return the fourth cumulant of two signals of a unit, relative to their second moments."""
        (weights, biases), (others, further) = self.of(a), self.of(b)
        of_weights = sum(k * x * others[w][1] for w, (k, x) in weights.items() if w in others)
        return of_weights + sum(k * x**2 * further[w][1] ** 2 for w, (k, x) in biases.items() if w in further)

    def given(self, m: Moments) -> Loads:
        """None."""
        return {}, {}

    def found(self, m: Moments, origin: Origin) -> Loads:
        """Those of a product with weights, and what functions, products and sums leave of them."""
        match origin:
            case Through(weight, before, gain, bias, _, tails):
                of_bias = {bias[0]: (tails[1], math.sqrt(bias[1] / size(m)))} if bias else {}
                return {weight: (tails[0], gain * size(before) / size(m))}, of_bias
            case Filled(fill, tail):
                return {}, {fill: (tail, 1.0)}
            case Function() if origin.source.root is not None:
                return self._of_function(origin, origin.source.root)
            case Like():
                return {}, {}
            case Sum(parts):
                return self._of_sum(m, origin, parts)
            case Product(first, second):
                (a, b), (c, d) = self.of(first), self.of(second)
                return _plus(a, c), _plus(_times(b, mean_share(second)), _times(d, mean_share(first)))
            case Part(whole):
                return self.of(whole)
            case _:
                return {}, {}

    def _of_function(self, f: Function, root: Moments) -> Loads:
        """E[f(z) β] = E[f'] E[z β]."""
        expanded, (weights, biases) = hermite.expand(f.values), self.of(root)
        slope = float(expanded.plain[:, 1].mean()) / math.sqrt(max(float(expanded.q.mean()), 1e-300))
        slope *= math.sqrt(size(root)) / max(float(f.source.std.mean()), 1e-150)
        return _times(weights, sensitivity(expanded)), _times(biases, slope)

    def _of_sum(self, m: Moments, origin: Sum, parts: tuple[tuple[Moments, float], ...]) -> Loads:
        weights: Shares = {}
        biases: Shares = {}
        for (part, factor), share in zip(parts, shares(self.kinship, m, origin), strict=True):
            of_weights, of_biases = self.of(part)
            weights = _plus(weights, _times(of_weights, share))
            biases = _plus(biases, _times(of_biases, factor * math.sqrt(size(part) / size(m))))
        return weights, biases


def _times(loads: Shares, factor: float) -> Shares:
    return {key: (k, factor * x) for key, (k, x) in loads.items()}


def _plus(one: Shares, two: Shares) -> Shares:
    return one | {key: (k, x + (one[key][1] if key in one else 0.0)) for key, (k, x) in two.items()}
