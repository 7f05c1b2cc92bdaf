"""How the squares of two signals of a unit covary over the draws of what is the unit's own.

Of Gaussian signals of correlation ρ by 2 ρ², and by what is left of a fourth cumulant (tails.py); of products of
independent factors a unit's E[f² h²] is the product of theirs, so that is (1 + f)(1 + h) - 1. A gradient that went back
through a function is such a product; signals side by side have the mean of what each has with each.
"""

from __future__ import annotations

from .agreement import LEAST, Agreement, mean_square, of_products
from .batch import Batch
from .by_pair import ByPair
from .chance import Chance
from .kinship import Beside, Function, Kin, Kinship, Product, Sum
from .make import Made, Units, mean_share, parted, size
from .tails import Tails
from .values import Moments


class Squares(ByPair):
    """Cov(a², b²)/(E[a²] E[b²]) over a unit's draws."""

    def __init__(self, kinship: Kinship, batch: Batch, units: Units) -> None:
        super().__init__()
        self.kinship, self.batch = kinship, batch
        self.made, self.tails, self.chance = Made(kinship), Tails(kinship), Chance(kinship, batch, units)
        self.agreement = Agreement(kinship, self.chance, self.tails)

    def over_batch(self, squares: Kin, units: float) -> tuple[float, float]:
        """Return the covariance of two batches' mean squares over units, and by how much one example's is beyond."""
        (own, other), one = squares, 1 / self.batch.size
        return max(own * one + other * (1 - one), 0.0) / units, max(own - other, 0.0) / units

    def found(self, a: Moments, b: Moments) -> Kin:
        """Return it for functions, products, what lies side by side, and sums of gradients behind functions."""
        match a.origin, b.origin:
            case Function(base=g) as x, Function(base=h) as y if g is not None and h is not None:
                return of_products(self.of(g, h), self.agreement.of_functions(x, y))
            case Function(base=None) as x, Function(base=None) as y if x.source.root and y.source.root:
                return self.agreement.of_functions(x, y)
            case Product() as x, Product() as y:
                return of_products(self.of(x.first, y.first), self.of(x.second, y.second))
            case Beside() as x, Beside() as y:
                return self._beside((x, y), (a, b))
            case Sum(), Sum():
                return of_products(self.given(a, b), self.agreement.of(a, b))
            case _:
                return self.given(a, b)

    def _beside(self, both: tuple[Beside, Beside], whole: tuple[Moments, Moments]) -> Kin:
        own = other = 0.0
        one, two = ([(p, share * size(p) / size(m)) for p, share in x.parts] for x, m in zip(both, whole, strict=True))
        for p, r, share in parted(one, two, LEAST):
            kin = self.of(p, r)
            own, other = own + share * kin[0], other + share * kin[1]
        return own, other

    def given(self, a: Moments, b: Moments) -> Kin:
        """2 ρ² + 4 m m' ρ + κ₄; what is given with a size of its own is inherited, and no more is drawn of it."""
        mean, tails, chance = mean_share(a) * mean_share(b), self.tails.met(a, b), self.chance.met(a, b)
        drawn = 1 - (1 - self.made.of(a)) * (1 - self.made.of(b))
        own, other = (kin - mean for kin in self.kinship.of(a, b))
        return (
            drawn * (2 * mean_square(own, chance) + 4 * mean * own) + tails[0],
            drawn * (2 * mean_square(other, chance) + 4 * mean * other) + tails[1],
        )
