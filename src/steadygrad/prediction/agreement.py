"""How far the functions agree that gradients went back through at two steps: where one is large, is the other?

A gate that a bias holds open is open at all steps, so of two gradients that went back through it E[g² f² h² k²] is
beyond E[g² h²] E[f²] E[k²] by Cov(f², k²); in sums by the shares of the terms that went through the same gates.
"""

from __future__ import annotations

import math

import numpy as np

from . import hermite
from .by_pair import ByPair
from .chance import Chance
from .kinship import Function, Kin, Kinship, Sum
from .make import Weights, parted, size
from .source import sensitivity
from .tails import Tails
from .values import Array, Moments

LEAST = 0.003  # of the product of two terms' shares: less of what they agree in is not followed


class Agreement(ByPair):
    """Covariances of the squares of all functions that two gradients have gone through, at steps that are not one."""

    def __init__(self, kinship: Kinship, chance: Chance, tails: Tails) -> None:
        super().__init__()
        self.kinship, self.chance, self.tails, self.weights = kinship, chance, tails, Weights()

    def given(self, a: Moments, b: Moments) -> Kin:
        """None."""
        return 0.0, 0.0

    def found(self, a: Moments, b: Moments) -> Kin:
        """Of functions that of their own and that of what came in; what one source was met by twice is in `Tails`."""
        match a.origin, b.origin:
            case Function(base=g) as x, Function(base=h) as y if g is not None and h is not None:
                met = self.of_functions(x, y) if x.source is not y.source else (0.0, 0.0)
                return of_products(self.of(g, h), met)
            case Sum() as x, Sum() as y if x is not y:
                return self._of_sums((x, y), (a, b))
            case _:
                return 0.0, 0.0

    def _of_sums(self, sums: tuple[Sum, Sum], whole: tuple[Moments, Moments]) -> Kin:
        own = other = 0.0
        one, two = ([(p, f * f * size(p) / size(m)) for p, f in x.parts] for x, m in zip(sums, whole, strict=True))
        for p, r, share in parted(one, two, LEAST):
            if self.weights.of(p) == self.weights.of(r):
                kin = self.of(p, r)
                own, other = own + share * kin[0], other + share * kin[1]
        return own, other

    def of_functions(self, x: Function, y: Function) -> Kin:
        """Return Cov(f², k²)/(E[f²] E[k²]) of two functions; none where a source is no signal's."""
        one, two = x.source.root, y.source.root
        if one is None or two is None:
            return 0.0, 0.0
        f, g = hermite.expand(x.values), hermite.expand(y.values)
        masses = f.square.mean(0) * g.square.mean(0) / max(float(f.q.mean()) * float(g.q.mean()), 1e-300)
        masses[0] = 0.0
        slopes = sensitivity(f) * sensitivity(g)
        tails, chance = self.tails.met(one, two), self.chance.met(one, two)
        own, other = self.kinship.correlation(x.source, y.source)
        return _series(masses, own, chance) + slopes * tails[0], _series(masses, other, chance) + slopes * tails[1]


def of_products(f: Kin, h: Kin) -> Kin:
    """Return the covariances of squares of products of independent factors from those of both: E[f²] E[h²] - 1."""
    return (1 + f[0]) * (1 + h[0]) - 1, (1 + f[1]) * (1 + h[1]) - 1


def mean_square(c: float, chance: float) -> float:
    """Return the mean square of a correlation that varies by chance, by as much less as it is large."""
    return c * c + chance * max(1 - c * c, 0.0)


def _series(masses: Array, c: float, chance: float) -> float:
    """Return Σ masses_n E[c^n], where c varies by chance: even orders at the root of its mean square."""
    odd = np.where(hermite.odd_orders(), masses, 0.0)
    left = hermite.decay(1 - np.array([c, math.sqrt(mean_square(c, chance))]))
    return float(masses.sum() - left[0] @ odd - left[1] @ (masses - odd))
