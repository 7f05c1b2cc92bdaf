"""What is left of the fourth cumulant of a unit that is no Gaussian, where weights are met again.

A unit that is to first order linear in its weights w_j and its bias β, Σ_j x_j w_j + s β, has with another such signal
of the same unit the fourth cumulant κ_w Σ_j x_j² x'_j² + κ_β s² s'²: a bias counts by the share that it has in both,
the n weights of a row by 1/n whatever their inputs, since no cosine of these is in it. A sum that a function of a
Gaussian is in has of its fourth cumulant as much as of its share, squared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TypeAlias

from . import hermite
from .by_origin import ByOrigin
from .hermite import Expansion
from .kinship import Filled, Function, Kin, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import mean_share, shares, size
from .source import sensitivity
from .values import Moments

Shares: TypeAlias = dict[int, tuple[float, float]]
LEAST = 0.03  # of a root share: its fourth power is what counts


@dataclass(frozen=True, slots=True)
class Loads:
    """What a signal has of weights, κ/n and the share of its size; of biases, and of functions by the source of each.

    Of these κ and E[m β], over the root of both sizes.
    """

    weights: Shares = field(default_factory=dict)
    biases: Shares = field(default_factory=dict)
    functions: Shares = field(default_factory=dict)
    products: Shares = field(default_factory=dict)

    def scaled(self, power: float, factor: float, along: float | None = None) -> Loads:
        """Return those of a signal that is the part of another, `factor` times as large, of cosine `along` with it.

        The shares of weights are scaled by `power`. What a product has is of pairs of which one is its varying factor,
        and the other lies along the whole: x² x'² with x' the cosine.
        """
        root = abs(factor) if along is None else math.sqrt(abs(factor * along))
        functions, products = _times(self.functions, factor), _times(self.products, root)
        return Loads(_times(self.weights, power), _times(self.biases, factor), functions, products)

    def plus(self, other: Loads) -> Loads:
        """Return those of a sum."""
        return Loads(*(_plus(getattr(self, f.name), getattr(other, f.name)) for f in fields(Loads)))

    def along(self, other: Loads) -> float:
        """Return the correlation that two signals have of biases."""
        return sum(x * other.biases[key][1] for key, (_, x) in self.biases.items() if key in other.biases)

    def met(self, other: Loads) -> tuple[float, float]:
        """Return the fourth cumulant of two signals, with what functions have of it, and without."""
        both = sum(k * x * other.weights[w][1] for w, (k, x) in self.weights.items() if w in other.weights)
        both += _of_roots(self.biases, other.biases)
        alone = _of_roots(self.functions, other.functions) + _of_roots(self.products, other.products)
        return both + alone, both


NONE = Loads()


class Tails(ByOrigin[Loads]):
    """Shares of weights, biases and functions in signals."""

    def __init__(self, kinship: Kinship) -> None:
        super().__init__()
        self.kinship = kinship

    def met(self, a: Moments, b: Moments) -> Kin:
        """Return the fourth cumulant of two signals of a unit, relative to their second moments, as `Kin`.

        Functions are of an example's own source.
        """
        return self.of(a).met(self.of(b))

    def given(self, m: Moments) -> Loads:
        """None."""
        return NONE

    def found(self, m: Moments, origin: Origin) -> Loads:
        """Those of a product with weights, and what functions, products and sums leave of them."""
        match origin:
            case Through(weight, before, gain, bias, _, tails):
                of_bias = {bias[0]: (tails[1], math.sqrt(bias[1] / size(m)))} if bias else {}
                return Loads({weight: (tails[0], gain * size(before) / size(m))}, of_bias)
            case Filled(fill, tail):
                return Loads(biases={fill: (tail, 1.0)})
            case Function(base=base) if base is not None:
                return self._of_gradient(m, origin, base)
            case Function() if origin.source.root is not None:
                return self._of_function(origin, origin.source.root)
            case Like():
                return NONE
            case Sum(parts):
                return self._of_sum(m, origin, parts)
            case Product(first, second):
                return self._of_product(m, origin, (first, second))
            case Part(whole):
                return self.of(whole)
            case _:
                return NONE

    def _of_function(self, f: Function, root: Moments) -> Loads:
        """E[f(z) β] = E[f'] E[z β]; and of f itself what is no Gaussian."""
        expanded = hermite.expand(f.values)
        slope = float(expanded.plain[:, 1].mean()) / math.sqrt(max(float(expanded.q.mean()), 1e-300))
        scale = math.sqrt(size(root)) / max(float(f.source.std.mean()), 1e-150)
        through = self.of(root).scaled(sensitivity(expanded), slope * scale)
        own = {id(f.source): (_beyond(expanded), math.copysign(1.0, slope))}
        return replace(through, functions=through.functions | own)

    def _of_gradient(self, m: Moments, f: Function, base: Moments) -> Loads:
        """E[g⁴ f⁴] = E[g⁴] E[f⁴]: what of it the gradient's shares do not say is the product's own."""
        expanded, loads = hermite.expand(f.values), self.of(base)
        q = max(float(expanded.q.mean()), 1e-150)
        mean = float(expanded.mean.mean()) / math.sqrt(q)
        whole = loads.scaled(mean**2, mean)
        fourth = _fourth(base, loads) * float(expanded.fourth.mean()) / q**2
        return replace(whole, products=whole.products | {id(f): (fourth - _fourth(m, whole), 1.0)})

    def _of_product(self, m: Moments, origin: Product, factors: tuple[Moments, Moments]) -> Loads:
        """E[x⁴ y⁴] = E[x⁴] E[y⁴]: what of it no share of either says is the product's own."""
        first, second = (self.of(x) for x in factors)
        whole = first.scaled(1.0, mean_share(factors[1])).plus(second.scaled(1.0, mean_share(factors[0])))
        fourth = math.prod(_fourth(x, loads) for x, loads in zip(factors, (first, second), strict=True))
        return replace(whole, products=whole.products | {id(origin): (fourth - _fourth(m, whole), 1.0)})

    def _of_sum(self, m: Moments, origin: Sum, parts: tuple[tuple[Moments, float], ...]) -> Loads:
        whole = NONE
        for (part, factor), share in zip(parts, shares(self.kinship, m, origin), strict=True):
            if share:
                ratio = factor * math.sqrt(size(part) / size(m))
                whole = whole.plus(self.of(part).scaled(share, ratio, share / ratio))
        return whole


def _of_roots(one: Shares, two: Shares) -> float:
    return sum(k * x**2 * two[key][1] ** 2 for key, (k, x) in one.items() if key in two)


def _fourth(m: Moments, loads: Loads) -> float:
    """Return E[m⁴]/E[m²]²: that of a Gaussian of its mean, and its fourth cumulant."""
    return 3 - 2 * mean_share(m) ** 4 + loads.met(loads)[0]


def _beyond(f: Expansion) -> float:
    """Return E[f⁴] beyond that of a Gaussian of this mean and size, relative to the second moment squared."""
    q, square = float(f.q.mean()), float((f.mean**2).mean())
    return float(f.fourth.mean()) / max(q * q, 1e-300) - 3 + 2 * (square / max(q, 1e-300)) ** 2


def _times(loads: Shares, factor: float) -> Shares:
    return {key: (k, factor * x) for key, (k, x) in loads.items() if abs(factor * x) > LEAST}


def _plus(one: Shares, two: Shares) -> Shares:
    return one | {key: (k, x + (one[key][1] if key in one else 0.0)) for key, (k, x) in two.items()}
