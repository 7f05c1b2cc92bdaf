"""Sums of a gradient that a norm has sent back, times a function: what the norm took out of it is in none of them.

What goes back through a norm of y(z) is, over all that the norm takes together, orthogonal to a constant and to y. So

    Σ g h(z) = Σ g r(z),    r = h - α - β y,

r the rest of the regression of h on y over a unit's own places and examples: nothing of a constant, as of a bias
straight in front, nothing of y, as of the scale of a norm in front of a rectifier, and little of any h where y is
nearly a line. A unit's z is √ρ a + √(1-ρ) e, a its own mean, e what differs; the regression is over e. Approximate: two
places have in common what Hermite orders of r in e do, on average over a.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import mean_of_all, weight_gradients
from .batch import Batch
from .decays import decayed
from .field import Field
from .hermite import coefficients, tables
from .propagation import centred, scaled
from .regridded import regridded
from .source import Source, Wave
from .spread import CERTAIN
from .values import Array, Moments, Signal

NOTHING = 1e-9  # of a function: what rounding leaves of a regression
SMALLEST = 1e-100  # of a factor that a function is divided by


@dataclass(frozen=True, slots=True)
class Balance:
    """What a gradient is orthogonal to: a constant, and a function of a source.

    `base`: the gradient that came into the norm, over the deviation; `values`: y on the source's nodes; `factor`: what
    the base is multiplied by, on these nodes, 1 for a norm of what has no function; `chances`: by which a place is one
    that the norm has met; `batch`: whether all examples are taken together, or each alone.
    """

    source: Source
    base: Moments
    values: Array
    factor: Array
    chances: Array
    batch: bool

    def sum_of(self, wave: Wave | None, batch: Batch) -> float | None:
        """Return the second moment of Σ g h over examples and places; None of a function of another source."""
        if wave is not None and wave.source is not self.source:
            return None
        h = self.factor if wave is None else wave.values.mean(0)
        own, other, common = self._correlations(batch)
        masses, whole = self._rest(h, common)
        if not whole > 0:
            return 0.0
        r = batch.followed
        q = np.full(r, whole)
        if isinstance(own, float):
            product = float(masses.sum()) - decayed(1 - other, masses)
            product = product - batch.pair_mean(_with_diagonal(product, whole))
            d = np.maximum(whole - product, 0.0) * (1 - np.eye(r))
            return weight_gradients.of_weight(replace(self.base, along=0.0), Moments(0 * q, q, d, CERTAIN), batch)
        return weight_gradients.of_weight(
            replace(self.base, along=0.0), self._over_places(masses, whole, (own, other), batch), batch
        )

    def told(self, m: Moments, wave: Wave, batch: Batch) -> Moments:
        """Return the moments of g h with what the mean over all places has of them."""
        whole = self.sum_of(wave, batch)
        if whole is None or m.field is None:
            return m
        examples = batch.size if self.batch else 1
        size = float(m.q.mean()) * batch.size * m.field.count**2 * examples
        in_all = mean_of_all.sent_back(m.field, whole / size if size > 0 else 0.0, examples)
        return replace(m, field=replace(m.field, in_all=in_all))

    def _over_places(self, masses: Array, whole: float, alike: tuple[Array, Array], batch: Batch) -> Moments:
        """Return the moments of r, of which a unit's sum is none."""
        assert self.source.field is not None
        share = self.source.field.share
        own, other = ((float(masses.sum()) - decayed(1 - c, masses)) / whole for c in alike)
        own.flat[0] = 1.0
        field = Field(np.ones(share.shape), 1 - own, 1 - other)
        weights = field.weights
        means = float((weights * own).sum()), float((weights * other).sum())
        if self.batch:
            means = (means[0] / batch.size + means[1] * (1 - 1 / batch.size),) * 2
        own, other = own - means[0], other - means[1]
        size = max(float(own.flat[0]), NOTHING)
        r = batch.followed
        field = replace(field, within=1 - own / size, across=1 - other / size)
        q, d = np.full(r, whole * size), whole * (size - float(other.flat[0])) * (1 - np.eye(r))
        return Moments(0 * q, q, d, CERTAIN, field=field)

    def _correlations(self, batch: Batch) -> tuple[Array | float, Array, float]:
        """Return what e has in common at two places, of an example and of two, and the share of a."""
        if self.source.field is None:
            c = 1 - self.source.gap
            common = min(max(batch.pair_mean(c), 0.0), 1 - NOTHING)
            return 1.0, np.clip((c - common) / (1 - common), -1.0, 1.0), common
        z = centred(self.source)
        own, other = z.correlations
        of_own, of_other = float((z.weights * own).sum()), float((z.weights * other).sum())
        if self.batch:
            of_own = of_other = of_own / batch.size + of_other * (1 - 1 / batch.size)
        common = min(max(of_own, 0.0), 1 - NOTHING)
        own, other = (np.clip((c - m) / (1 - common), -1.0, 1.0) for c, m in ((own, of_own), (other, of_other)))
        return own, other, common

    def _rest(self, h: Array, common: float) -> tuple[Array, float]:
        """Return the squared Hermite coefficients in e of what is left of a function, and its mean square."""
        z, w = tables()[:2]
        at = common**0.5 * z[:, None] + (1 - common) ** 0.5 * z
        factor = np.interp(at, z, self.factor)
        ratio = np.divide(h, self.factor, out=np.zeros_like(h), where=self.factor > SMALLEST * self.factor.max())
        g, y, chances = (np.interp(at, z, x) for x in (ratio, self.values, self.chances))
        weights = w * chances
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
        g, y = (x - (weights * x).sum(1, keepdims=True) for x in (g, y))
        size, met = (weights * y * y).sum(1, keepdims=True), (weights * g * y).sum(1, keepdims=True)
        left = (g - np.divide(met, size, out=np.zeros_like(met), where=size > 0) * y) * factor
        squares = left**2 @ w
        whole = float(squares @ w)
        if not whole > NOTHING**2 * float((ratio * self.factor) ** 2 @ w):
            return np.zeros(1), 0.0
        masses = w @ coefficients(left, squares) ** 2
        masses[0] = 0.0
        return masses, whole


def _with_diagonal(product: Array, whole: float) -> Array:
    found = product.copy()
    np.fill_diagonal(found, whole)
    return found


def through_pool(g: Signal, x: Wave | None, back: Moments, factor: Array, chances: Array) -> Balance | None:
    """Return the balance of a gradient that went back through a pool of a function of a source.

    Args:
        g: what came into the pool, as a norm has sent it.
        x: the function that was pooled.
        back: the gradient that the pool sends back, before it is multiplied by a function.
        factor: what it is multiplied by for a place's chance, on the nodes.
        chances: by which a place is met.
    """
    known = g.balance
    if known is None or x is None or x.source is None:
        return None
    came = float(known.base.q.mean()) * float(known.factor**2 @ tables()[1])
    base = scaled(back, (came / max(float(g.moments.q.mean()), 1e-300)) ** 0.5)
    return replace(known, source=x.source, base=base, values=x.values.mean(0), factor=factor, chances=chances)


def of_norm(x: Wave | None, g: Signal, sent: Wave | None, inverse: float, *, batch: bool) -> Balance | None:
    """Return the balance of what a norm sends back to a function of a source.

    Args:
        x: what went into the norm.
        g: the gradient that came to it.
        sent: the function of the source that it is sent back as, None where it is none.
        inverse: the inverse variance, of which it is multiplied by the root.
        batch: whether the norm takes all examples together.
    """
    if x is None or x.source is None:
        return None
    ones = np.ones_like(tables()[0])
    came, factor = (g.moments, ones) if sent is None or g.base is None else (g.base, sent.values.mean(0))
    base = scaled(came, inverse**0.5)
    field = base.field and x.source.field and regridded(base.field, x.source.field.sizes)
    return Balance(x.source, replace(base, field=field or base.field), x.values.mean(0), factor, ones, batch)
