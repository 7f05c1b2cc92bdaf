"""How the sizes of signals vary together where a weight is met more than once.

What a matrix makes of two inputs has its weights in common: where |W x|² is large in a draw, |W x'|² is too. Of unit i
the squares of two signals a and b covary by E[a² b²] - E[a²] E[b²], over the draws of what is its own: its rows of the
weights and its biases. For Gaussian signals of centred correlation ρ that is 2 ρ² + κ₄: whole for what a bias, or a
memory, makes alike at all steps; 2/n for inputs that are orthogonal but for chance (chance.py); κ₄ is what weights and
biases leave that are not Gaussian (tails.py). N units are N draws: the logs of two mean squares covary by 1/N of it.

So the log of a signal's size is held in two parts: what it has inherited from the sizes of what the weights were given,
and its own units' noise. That is a sum of the noises of earlier signals of the same make, one, two, four, ... of them
back, with the covariances said above, and of what is new. Going forward only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from . import hermite
from .batch import Batch
from .by_origin import ByOrigin
from .chance import Chance
from .kinship import Beside, Filled, Function, Kin, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import Made, Units, Weights, mean_share, shares, size
from .source import sensitivity
from .spread import CERTAIN, Noises, Spread
from .tails import Tails
from .values import Array, Moments

Form: TypeAlias = tuple[Spread, Spread]
"""The log of a signal's size: what it has inherited, and its own units' noise."""
RIGHT_TO = 0.02  # of covariances of noises, which are taken for those of nearly Gaussian units


class Tied(ByOrigin[bool]):
    """Whether a signal's units meet weights that are met again, or one weight at several positions."""

    def __init__(self) -> None:
        super().__init__()
        self.again: set[int] = set()

    def given(self, m: Moments) -> bool:
        """No."""
        return False

    def found(self, m: Moments, origin: Origin) -> bool:
        """As any of what it was made of."""
        match origin:
            case Through(weight):
                return weight in self.again
            case Function(source):
                return source.root is not None and self.of(source.root)
            case Like():
                return False
            case Sum(parts) | Beside(parts):
                return any(self.of(part) for part, _ in parts)
            case Product(first, second):
                return self.of(first) or self.of(second)
            case Part(whole, _, places):
                return self.of(whole) or (bool(places) and isinstance(whole.origin, Through))
            case _:
                return False


class Coherence(ByOrigin[Form]):
    """Forms of the log sizes of signals."""

    def __init__(self, kinship: Kinship, noises: Noises, batch: Batch) -> None:
        super().__init__()
        self.kinship, self.noises, self.batch = kinship, noises, batch
        self.tied, self.units, self.made, self.tails = Tied(), Units(), Made(kinship), Tails(kinship)
        self.chance = Chance(kinship, batch, self.units)
        self.weights = Weights()
        self._makes: dict[Hashable, list[tuple[Moments, Spread]]] = {}

    def meet(self, weight: int) -> None:
        """Know that a weight is met again."""
        if weight not in self.tied.again:
            self.tied.again.add(weight)
            self.tied.forget()

    def spread(self, m: Moments) -> Spread:
        """Return how the log of a signal's size varies; as it is known where it met no weight that is met again."""
        if not self.tied.again or not self.tied.of(m):
            return m.spread
        inherited, own = self.of(m)
        return replace(m.spread, weights=inherited.plus(own).weights)

    def given(self, m: Moments) -> Form:
        """All is inherited."""
        return m.spread.centred, CERTAIN

    def found(self, m: Moments, origin: Origin) -> Form:
        """What is inherited through sums, products, functions and weights; and the units' own, of all that made it."""
        match origin:
            case Sum(((part, _),)) if not isinstance(origin, Like):
                return self._masked(m, part)
            case Beside():
                return self._mixed(m, origin, 0), self._mixed(m, origin, 1)
            case _:
                return self._inherited(m, origin), self._own(m)

    def _inherited(self, m: Moments, origin: Origin) -> Spread:
        match origin:
            case Through(_, before, gain):
                return self.spread(before).centred.scaled(min(gain * size(before) / size(m), 1.0))
            case Function(source, values):
                form = self.of(source.root)[0] if source.root is not None else source.before.centred
                return form.scaled(sensitivity(hermite.expand(values)))
            case Sum() if not isinstance(origin, Like):
                return self._mixed(m, origin, 0)
            case Product(first, second):
                return self.of(first)[0].plus(self.of(second)[0])
            case Part(whole):
                return self.of(whole)[0]
            case Filled():
                return CERTAIN
            case _:
                return m.spread.centred

    def _mixed(self, m: Moments, origin: Sum | Beside, which: int) -> Spread:
        whole = CERTAIN
        for (part, _), share in zip(origin.parts, shares(self.kinship, m, origin), strict=True):
            whole = whole.plus(self.of(part)[which].scaled(share)) if share else whole
        return whole

    def _masked(self, m: Moments, part: Moments) -> Form:
        """Return the form of a signal, and what a mask adds to its own noise."""
        inherited, own = self.of(part)
        return inherited, own.plus(m.spread.centred).plus(part.spread.centred.scaled(-1.0))

    def _own(self, m: Moments) -> Spread:
        units = self.units.of(m)
        if not units or not self.made.of(m):
            return CERTAIN
        earlier = self._makes.setdefault((type(m.origin), self.weights.of(m), units), [])
        form = self._drawn(m, units, earlier)
        earlier.append((m, form))
        return form

    def _drawn(self, m: Moments, units: float, earlier: list[tuple[Moments, Spread]]) -> Spread:
        """Return the noise of the mean square of so many units, given those of earlier signals."""
        own, apart = self._over_batch(self.squares(m, m), units)
        near = [earlier[-(1 << k)] for k in range(len(earlier).bit_length())]
        met = np.array([self._over_batch(self.squares(m, other), units)[0] for other, _ in near])
        among = np.array([[self.noises.covariance(a, b)[0] for _, a in near] for _, b in near])
        known = CERTAIN
        for (_, form), share in zip(near, _projected(among, met, own), strict=True):
            known = known.plus(form.scaled(share))
        left, left_apart = self.noises.covariance(known, known)
        return known.plus(self.noises.fresh(own - left).centred).plus(self.noises.own(apart - left_apart))

    def _over_batch(self, squares: Kin, units: float) -> tuple[float, float]:
        """Return the covariance of two batches' mean squares over units, and by how much one example's is beyond."""
        (own, other), one = squares, 1 / self.batch.size
        return max(own * one + other * (1 - one), 0.0) / units, max(own - other, 0.0) / units

    def squares(self, a: Moments, b: Moments) -> Kin:
        """Return Cov(a², b²)/(E[a²] E[b²]) over a unit's draws, for one example and for two."""
        match a.origin, b.origin:
            case Function() as x, Function() as y if x.source.root is not None and y.source.root is not None:
                return self._of_functions(x, y, (x.source.root, y.source.root))
            case Product() as x, Product() as y:
                (f, g), (h, k) = self.squares(x.first, y.first), self.squares(x.second, y.second)
                return (1 + f) * (1 + h) - 1, (1 + g) * (1 + k) - 1
            case _:
                return self._of_gaussians(a, b)

    def _of_gaussians(self, a: Moments, b: Moments) -> Kin:
        """2 ρ² + 4 m m' ρ + κ₄; what is given with a size of its own is inherited, and no more is drawn of it."""
        mean, tails, chance = mean_share(a) * mean_share(b), self.tails.met(a, b), self.chance.met(a, b)
        drawn = 1 - (1 - self.made.of(a)) * (1 - self.made.of(b))
        own, other = (kin - mean for kin in self.kinship.of(a, b))
        return (
            drawn * (2 * _square(own, chance) + 4 * mean * own) + tails[0],
            drawn * (2 * _square(other, chance) + 4 * mean * other) + tails[1],
        )

    def _of_functions(self, x: Function, y: Function, roots: tuple[Moments, Moments]) -> Kin:
        f, g = hermite.expand(x.values), hermite.expand(y.values)
        masses = f.square.mean(0) * g.square.mean(0) / max(float(f.q.mean()) * float(g.q.mean()), 1e-300)
        masses[0] = 0.0
        slopes, tails, chance = sensitivity(f) * sensitivity(g), self.tails.met(*roots), self.chance.met(*roots)
        own, other = self.kinship.correlation(x.source, y.source)
        return _series(masses, own, chance) + slopes * tails[0], _series(masses, other, chance) + slopes * tails[1]


def _square(c: float, chance: float) -> float:
    """Return the mean square of a correlation that varies by chance, by as much less as it is large."""
    return c * c + chance * max(1 - c * c, 0.0)


def _series(masses: Array, c: float, chance: float) -> float:
    """Return Σ masses_n E[c^n], where c varies by chance: even orders at the root of its mean square."""
    odd = np.where(hermite.odd_orders(), masses, 0.0)
    left = hermite.decay(1 - np.array([c, math.sqrt(_square(c, chance))]))
    return float(masses.sum() - left[0] @ odd - left[1] @ (masses - odd))


def _projected(among: Array, met: Array, most: float) -> Array:
    """Return the shares of known noises of these covariances in one that has these with them, of variance `most`.

    Of noises that are nearly one, what they differ by is not made more of than covariances are right to.
    """
    if not len(met) or not np.diag(among).any():
        return np.zeros(len(met))
    found = np.linalg.lstsq(among, met, rcond=RIGHT_TO)[0]
    explained = float(found @ among @ found)
    return np.asarray(found * min(math.sqrt(most / explained), 1.0) if explained > 0 else found)
