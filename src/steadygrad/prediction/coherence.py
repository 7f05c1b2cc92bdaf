"""How the sizes of signals vary together where a weight is met more than once.

What a matrix makes of two inputs has its weights in common: where |W x|² is large in a draw, |W x'|² is too. Of unit i
the squares of two signals a and b covary by E[a² b²] - E[a²] E[b²], over the draws of what is its own: its rows of the
weights and its biases. For Gaussian signals of centred correlation ρ that is 2 ρ² + κ₄: whole for what a bias, or a
memory, makes alike at all steps; 2/n for inputs that are orthogonal but for chance (chance.py); κ₄ is what weights and
biases leave that are not Gaussian (tails.py). N units are N draws: the logs of two mean squares covary by 1/N of it.

So the log of a signal's size is held in two parts: its own units' noise (own_noise.py), and what it has inherited: the
sizes of what the weights were given, by each term's share of a sum, and how far terms that met the same weights lie
along each other by chance. Going back the same holds: W^T makes of two gradients what W makes of two signals.
"""

from __future__ import annotations

import math
from dataclasses import replace

from . import hermite
from .batch import Batch
from .by_origin import ByOrigin
from .chance import Chance
from .kinship import Beside, Drawn, Filled, Function, Kinship, Like, Origin, Part, Product, Sum, Through
from .make import Units, mixed, size
from .mean_log import Offset
from .own_noise import OwnNoise
from .source import sensitivity
from .spread import CERTAIN, Noises, Spread, within_bounds
from .squares import Squares
from .tied import AtSteps, Back, Tied
from .values import Moments


class Coherence(ByOrigin[Spread]):
    """Forms of the log sizes of signals: of each what it has inherited, beside its `own`."""

    def __init__(self, kinship: Kinship, noises: Noises, batch: Batch) -> None:
        super().__init__()
        self.kinship, self.noises = kinship, noises
        self.tied, self.back, self.at_steps, self.units = Tied(), Back(), AtSteps(), Units()
        self.own, self.offset = (
            OwnNoise(Squares(kinship, batch, self.units), self.units, noises),
            Offset(kinship, noises),
        )
        self.chance = Chance(kinship, batch, self.units, over_draws=True)
        self._drawn: dict[tuple[int, tuple[int, ...]], tuple[Origin, Spread]] = {}
        self._parts: dict[tuple[int, tuple[int, ...]], Moments] = {}

    def meet(self, weight: int) -> None:
        """Know that a weight is met again."""
        if weight not in self.tied.again:
            self.tied.again.add(weight)
            self.tied.forget()

    def spread(self, m: Moments) -> Spread:
        """Return how the log of a signal's size varies; as it is known where it met no weight that is met again.

        So it is of gradients that have positions, and of those that all come from one step: what of that step goes back
        through one matrix time and again is taken as through others.
        """
        if not self.tied.again or not self.tied.of(m):
            return m.spread
        back = self.back.of(m)
        if back and (not self.at_steps.of(m) or (m.field is not None and not isinstance(m.origin, Beside))):
            return m.spread
        form = self.of(m).plus(self.own.of(m))
        mean = self.offset.of(m) - self.noises.covariance(form, form)[0] / 2 if back else m.spread.mean
        return replace(m.spread, weights=form.weights, mean=mean)

    def of_entries(self, m: Moments) -> float:
        """Return by how much products of a signal's units at two steps vary by chance, relative to its size."""
        return self.own.squares.chance.of_entries(m)

    def given(self, m: Moments) -> Spread:
        """All of it."""
        return m.spread.centred

    def found(self, m: Moments, origin: Origin) -> Spread:
        """Return what is inherited through sums, products, functions and weights."""
        match origin:
            case Through(_, before, gain):
                return self.spread(before).centred.scaled(min(gain * size(before) / size(m), 1.0))
            case Function(source, values, base):
                form = self.of(source.root) if source.root is not None else source.before.centred
                form = form.scaled(sensitivity(hermite.expand(values)))
                return form if base is None else form.plus(self.of(base))
            case Sum(((a, _), (b, _))) if not isinstance(origin, Like) and a.q.any() and b.q.any():
                return self._summed(m, origin, (self.of(a), self.of(b)))
            case Sum() | Beside() if not isinstance(origin, Like):
                return mixed(self.of, self.kinship, m, origin)
            case Product(first, second):
                return self.of(first).plus(self.of(second))
            case Part(whole, _, places):
                return self._at(whole, places) if places and m.field is None else self.of(whole)
            case Filled():
                return CERTAIN
            case _:
                return self.given(m)

    def _summed(self, m: Moments, origin: Sum, terms: tuple[Spread, Spread]) -> Spread:
        """Return what a sum of two terms has inherited: of each by its share, and as they meet by chance.

        Of n Gaussian entries of correlation ρ the cosine has the variance (1 - ρ²)²/n, and ρ (1 - ρ²)/n in common with
        the log of either square: by as much as these vary like that it goes with them. What two terms have of one bias
        no input has a part in.
        """
        (a, f), (b, g) = origin.parts
        rho = self.kinship.of(a, b)[0] - self.own.squares.tails.of(a).along(self.own.squares.tails.of(b))
        rho, root = min(max(rho, -1.0), 1.0), f * g * math.sqrt(size(a) * size(b)) / size(m)
        own = self.chance.met(a, b)
        other = own * self.kinship.itself(a)[1] * self.kinship.itself(b)[1]
        chance, apart = self.own.squares.over_batch((own, other), 1)
        both, left = terms[0].plus(terms[1]), (1 - rho**2) ** 2
        known, along = self.noises.covariance(both, both)[0], 2 * rho * (1 - rho**2) * chance
        slope = within_bounds(along / known, left * chance, known) if known > 0 else 0.0
        rest = max(left * chance - slope**2 * known, 0.0)
        fresh = self.noises.fresh(4 * root**2 * rest, 4 * root**2 * left * apart)
        shares = (f * f * size(a) / size(m) + rho * root, g * g * size(b) / size(m) + rho * root)
        mixed = terms[0].scaled(shares[0]).plus(terms[1].scaled(shares[1]))
        return mixed.plus(both.scaled(2 * root * slope)).plus(fresh.centred)

    def _at(self, whole: Moments, places: tuple[int, ...]) -> Spread:
        """Return what a signal has inherited at one of its places: what its terms, steps or inputs have there."""
        match whole.origin:
            case Through(_, before, gain):
                here = self.spread(self._part(before, places))
                return here.centred.scaled(min(gain * size(before) / size(whole), 1.0))
            case Beside(parts) if whole.field and whole.field.sizes == (len(parts),) and len(places) == 1:
                return self.spread(parts[places[0]][0]).centred
            case Sum() as origin if not isinstance(origin, Like):
                return mixed(lambda part: self.of(self._part(part, places)), self.kinship, whole, origin)
            case Drawn(noise) as origin:
                return self.of(whole).plus(noise.centred.scaled(-1.0)).plus(self._drawn_at(whole, origin, places))
            case _:
                return self.of(whole)

    def _part(self, m: Moments, places: tuple[int, ...]) -> Moments:
        key = id(m.origin), places
        if key not in self._parts:
            self._parts[key] = replace(m, origin=Part(m, ("all", int(self.units.of(m))), places), field=None)
        return self._parts[key]

    def _drawn_at(self, whole: Moments, origin: Drawn, places: tuple[int, ...]) -> Spread:
        """Return the noise of independent entries at one of their places, of as many times the variance."""
        key = id(origin), places
        if key not in self._drawn:
            variance, apart = self.noises.covariance(origin.noise, origin.noise)
            count = whole.field.count if whole.field else 1
            self._drawn[key] = origin, self.noises.noise(0.0, variance * count, 0.0, apart * count)
        return self._drawn[key][1]
