"""How the entries of one feature differ from position to position: pixels of an image, steps of a sequence.

Taken as stationary: the product of two positions depends on their distance (the lag) alone, apart from a map of how
much each position's second moment is of the mean. Kept as differences, as in `Moments.d`, so nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import each_pair, in_all
from .decays import decayed, of_varying
from .hermite import odd_orders
from .in_all import Pair
from .lags import EVEN, ROUNDING, alike, autocorrelation, lag_weights, mean_at_lag

if TYPE_CHECKING:
    from .gram import Gram
    from .parting_of_places import Parted
    from .spread import Spread

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Field:
    """`share`: [*positions], second moment relative to its mean; `within` and `across`: [*lags], one less the product
    of an example, and of two distinct ones, at two positions that far apart, relative to the second moment. `beyond`,
    [*lags] or one number, is the variance of the product x·y/n of two distinct places, relative to the second moment
    squared, as `Moments.excess` is of two examples; at a lag its covariance with the product of two places that far on.
    `given` is the share of it that lies between pairs of places in the data, and not between draws. `lengths`, [*lags]
    or one number, is the covariance of the squared lengths of two places of an example, relative to what `share` says
    of each; `together`, [*lags] or one number, is that of the batch's mean squares at two places, over draws, up to
    what all places have in common. `means`, [*positions], is what a place has along the mean of all, of a gradient
    along its signal, relative to its mean; as its length if None. `common`, [*positions], is how the products of two
    distinct places are laid out, as the root of c c' relative to the mean at their lag; as `share` if None. `parted` is
    how far examples are apart at each place and by their lengths there, where that is followed. `of_mean` is how the
    log of the size of the mean over all places varies beside that of q; None where it is not followed. `products`,
    [2, places, places], are those of every two places, of an example and of two, where lags do not tell (each_pair.py);
    `gram` are those of every two places of a few small images (gram.py). `in_all` is what the mean over all places has
    of q, of an example and of two, where more is known of it than lags say (mean_of_all.py).
    """

    share: Array
    within: Array
    across: Array
    beyond: Array | float = 0.0
    given: float = dataclass_field(default=0.0, kw_only=True)
    lengths: Array | float = dataclass_field(default=0.0, kw_only=True)
    together: Array | float = dataclass_field(default=0.0, kw_only=True)
    means: Array | None = dataclass_field(default=None, kw_only=True)
    common: Array | None = dataclass_field(default=None, kw_only=True)
    parted: Parted | None = dataclass_field(default=None, kw_only=True)
    of_mean: Spread | None = dataclass_field(default=None, kw_only=True)
    products: Array | None = dataclass_field(default=None, kw_only=True)
    gram: Gram | None = dataclass_field(default=None, kw_only=True)
    in_all: Pair | None = dataclass_field(default=None, kw_only=True)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many positions there are along each axis."""
        return self.share.shape

    @property
    def count(self) -> int:
        """How many positions there are."""
        return self.share.size

    @property
    def weights(self) -> Array:
        """The share of all pairs of positions that have each lag."""
        return lag_weights(self.sizes)

    @property
    def alike_everywhere(self) -> bool:
        """Whether all places have one number, as what a mean over them sends back."""
        return self.count > 1 and float(self.within.max()) < ROUNDING

    def mean(self) -> tuple[float, float]:
        """Return the means of `within` and `across` over all pairs of positions."""
        if self.in_all is not None:
            return 1 - self.in_all[0], 1 - self.in_all[1]
        return self.mean_by_lag()

    def mean_by_lag(self) -> tuple[float, float]:
        """Return the same as lags say it."""
        w = self.weights
        return float((w * self.within).sum()), float((w * self.across).sum())

    def gap(self, examples: int) -> float:
        """Return the mean difference over all pairs of examples and positions."""
        within, across = self.mean()
        return within / examples + across * (1 - 1 / examples)

    @property
    def varied(self) -> float:
        """By how much products of two places vary."""
        return float(np.asarray(self.beyond).flat[0])

    @property
    def drawn(self) -> float:
        """By how much they vary over draws."""
        return self.varied * (1 - self.given)

    @property
    def varying(self) -> Array:
        """The same by lag."""
        return self._at_lags(self.beyond)

    @property
    def by_lag(self) -> Array:
        """How lengths vary, by lag."""
        return self._at_lags(self.lengths)

    @property
    def drifting(self) -> Array:
        """How the batch's mean squares vary together, by lag."""
        return self._at_lags(self.together)

    def _at_lags(self, known: Array | float) -> Array:
        found = np.asarray(known)
        return found if found.shape == self.sizes else np.broadcast_to(found, self.sizes)

    def apart(self) -> tuple[float, float]:
        """Return the means of `within` and `across` over pairs of distinct positions."""
        n = self.count
        if n < 2:
            return 0.0, float(self.across.flat[0])
        own = 1 / n
        within, across = self.mean()
        return within / (1 - own), (across - own * float(self.across.flat[0])) / (1 - own)

    def overlap(self, examples: int) -> float:
        """Return the mean squared product over all pairs of examples and positions, relative to one position's."""
        whole = self.averaged(self.squares, examples)
        return float(min((self.pairs * whole).sum() / whole.flat[0], 1.0))

    def overlap_of_all(self, examples: int) -> float:
        """Return the mean squared product over all pairs of examples and positions, relative to q squared."""
        return float(min((self.pairs * self.averaged(self.squares, examples)).sum(), 1.0))

    def blurred(self, units: float, examples: int) -> Field:
        """Return the field of so many Gaussian units: their products vary by (1 + 2r)(1 - r)/units more.

        For products K and squares q of two places, E[K'²] = K² + (q q' + K²)/N and E[q q'] gains 2 K²/N; r = K²/q q'.
        """
        r = self.overlap_of_all(examples)
        more = 2 / units * self.averaged(self.squares, examples)
        new = self.raised((1 + 2 * r) * (1 - r) / units).lengthened(2 / units)
        return replace(new, together=self.together + more)

    def of_sums(self, weights: Array) -> Array:
        """Return the variance of sums of the batch's mean squares over places, of weights [sums, *positions]."""
        products = self.weights * self.drifting * autocorrelation(weights[..., None], self.sizes)
        return np.asarray(self.count**2 * products.reshape(len(weights), -1).sum(1))

    def of_one(self, units: float, examples: int) -> Field:
        """Return the field that one of so many units is drawn with: without what their number blurs."""
        r = self.overlap_of_all(examples)
        return self.raised(-(1 + 2 * r) * (1 - r) / units).lengthened(-2 / units)

    def lengthened(self, variance: float) -> Field:
        """Return the field with squared lengths that vary so much more: at two places as their correlation squared."""
        return replace(self, lengths=np.maximum(self.lengths + variance * self.correlations[0] ** 2, 0.0))

    def centred(self, variance: float) -> Field:
        """Return the field of what differs from the mean over all positions, which is all but `variance` of q.

        The product of a position with the mean m is s E[m²], s what it has along it, so that of a product p at two
        positions p - (s + s') E[m²] + E[m²] is left. Products of two places vary by c² + 2 c (1 - c) c' + (1 - c)² c'²,
        c the share of the mean and c' their correlation without it; the last of the three is left.
        """
        share, lost = max(variance, 1e-300), 1 - variance
        means = self.along_the_mean
        root = mean_at_lag(means)
        within, across = (
            np.clip(1 - (1 - gap - lost * (2 * root - 1)) / share, 0.0, 2.0) for gap in (self.within, self.across)
        )
        within.flat[0] = 0.0
        left = np.maximum(self.share - (2 * means - 1) * lost, 0.0)
        beyond = np.maximum(self.varying - float((self.weights * self.varying).sum()), 0.0)
        beyond = np.minimum(beyond * (1 - lost) / (1 + lost) / share**2, 1.0)
        left = left / max(float(left.mean()), 1e-300)
        return Field(left, within, across, beyond, given=self.given, lengths=self.lengths)

    @property
    def along_the_mean(self) -> Array:
        """What each place has along the mean of all, relative to its mean."""
        if self.means is not None:
            return self.means
        roots = np.sqrt(self.share)
        return np.asarray(roots / max(float(roots.mean()), 1e-300))

    def drawn_along(self, along: float) -> Field:
        """Return the field of a gradient with so much more, relative to the whole, of what lies along its signal.

        What does so has one direction at all places, as the signal has where it is alike there, so sums over windows
        add lengths, a' = Σ a, where of the rest they add squares. With a `means` it lies where a² is large:
        between borders of zeros, where the signal and the rest are as a is, in the middle.
        """
        if not along or self.means is None:  # as long as the rest is: it lies where that does
            return self
        squares = self.means**2
        share = np.maximum(self.share + along * squares / max(float(squares.mean()), 1e-300), 0.0)
        return self.shaped(share / max(float(share.mean()), 1e-300))

    def raised(self, variance: float) -> Field:
        """Return the field with products that vary by so much more: as those of units that are alike at near places."""
        new = replace(self, beyond=np.clip(self.beyond + variance * (1 - self.within) ** 2, 0.0, 1.0))
        return replace(new, given=min(self.given * self.varied / new.varied, 1.0)) if new.varied > 0 else new

    def by_chance(self, other: Field | None, units: float) -> float:
        """Return the squared cosine of independent signals of so many units: the mean product of their correlations.

        Over all pairs of positions of an example; the other's entries are independent from place to place where its
        field is not known.
        """
        own = 1 - self.within
        if other is None or other.sizes != self.sizes:
            return float(own.flat[0]) / (self.count * units)
        return float((self.weights * own * (1 - other.within)).sum()) / units

    @property
    def squares(self) -> tuple[Array, Array]:
        """E[(x·y/n)²] by lag, relative to both q, of an example and of two: at most that of a place with itself."""
        varied = max(self.varied, 0.0)
        own, other = (np.minimum(c**2 + varied, 1.0) for c in self.correlations)
        return own, other

    @staticmethod
    def averaged(pair: tuple[Array, Array], examples: int) -> Array:
        """Return the mean over pairs of examples of what is known of one and of two."""
        return np.asarray(pair[0] / examples + pair[1] * (1 - 1 / examples))

    def among(self, axis: int, places: slice, size: int) -> Field:
        """Return the field with its places along an axis put at these of a longer one, zeros at the others.

        Of the pairs at a lag these are a share, and relative to the new second moment their products are as much more.
        """
        count, step = self.sizes[axis], places.step
        near = step * np.arange(count)
        met = (count - np.arange(count)) / (size - near) * size / count

        def put(values: Array, at: NDArray[np.intp], factor: Array) -> Array:
            old = np.moveaxis(values, axis, -1)
            whole = np.zeros((*old.shape[:-1], size))
            whole[..., at] = old * factor
            return np.asarray(np.moveaxis(whole, -1, axis))

        share = put(self.share, places.start + near, np.full(count, size / count))
        within, across = (1 - put(1 - gap, near, met) for gap in (self.within, self.across))
        found, products = (
            Field(share, within, across, put(self.varying, near, met), of_mean=self.of_mean),
            each_pair.at_places(self, places, size),
        )
        return found if products is None else each_pair.told(found, products)

    @property
    def deviations(self) -> Array:
        """The mean product of the deviations of two places by lag, relative to q; 1 where all have one."""
        return np.asarray(self._alike[0])

    @property
    def pairs(self) -> Array:
        """The share of all pairs of positions that have each lag, each as much as the product of its second moments."""
        return np.asarray(self.weights * self._alike[1])

    @property
    def correlations(self) -> tuple[Array, Array]:
        """The correlation of two positions by lag, of an example and of two."""
        deviations = self.deviations
        own, other = (np.clip((1 - gap) / deviations, -1.0, 1.0) for gap in (self.within, self.across))
        return own, other

    @property
    def _alike(self) -> Array:
        uneven = np.ptp(self.share) > 0
        return alike(np.ascontiguousarray(self.share, dtype=float).tobytes() if uneven else EVEN, self.sizes)

    def shaped(self, share: Array) -> Field:
        """Return the field with another map of second moments, the correlations of places the same."""
        new, (own, other) = replace(self, share=share), self.correlations
        deviations = new.deviations
        products = self.products
        if products is not None:
            longer = np.sqrt(share / np.maximum(self.share, 1e-300))
            products = products * np.outer(longer, longer)
        return replace(new, within=1 - own * deviations, across=1 - other * deviations, products=products, gram=None)

    def times(self, squares: Array) -> tuple[Field, float]:
        """Return the field with each place's square times a number, and the mean that this makes of the whole."""
        share = self.share * squares
        level = float(share.mean())
        if not level > 0:
            return self, level
        if self.products is not None:
            return each_pair.times(self, squares, level), level
        if self.common is None:
            return self.shaped(share / level), level
        common = self.common * squares
        kept = _roots_by_lag(common) / _roots_by_lag(self.common) / level
        kept.flat[0] = 1.0
        within, across = (1 - (1 - gap) * kept for gap in (self.within, self.across))
        common = common / max(float(common.mean()), 1e-300)
        found = replace(self, share=share / level, within=within, across=across, common=common, in_all=None)
        return replace(found, gram=None), level

    def left_over(self, gone: tuple[int, ...], by_lag: Array) -> Array:
        """Return what a sum over these axes leaves of `beyond`, by lags of the others: a mean over pairs along them.

        Products are sums over these axes of those of places that stand at the same place along them.
        """
        if not gone:
            return by_lag
        shape = tuple(n if i in gone else 1 for i, n in enumerate(self.sizes))
        weights = lag_weights(tuple(self.sizes[i] for i in gone)).reshape(shape)
        return np.asarray((weights * by_lag).sum(axis=gone))

    def covariances(self, masses: Array) -> tuple[Array, Array]:
        """Return sum_n masses_n E[c^n] by lag, of an example and of two; c varies over draws by `beyond`.

        Even orders are taken at the root of its mean square: s^n, s² = E[c²]. Of odd ones, which are as often negative
        as positive about the mean m, m s^(n - 1) is left, s² = m² + 3 Var(c), as of m itself and of E[c³].
        """
        if not self.varied:
            whole, gaps = float(masses.sum()), [1 - c for c in self.correlations]
            return whole - decayed(gaps[0], masses), whole - decayed(gaps[1], masses)
        odd = np.where(odd_orders(), masses, 0.0)
        own, other = (
            of_varying(c, square, masses - odd, odd) for c, square in zip(self.correlations, self.squares, strict=True)
        )
        return own, other

    def average(self, masses: Array, examples: int) -> float:
        """Return the mean of sum_n masses_n E[c^n] over all pairs, relative to that over the pairs at one position."""
        own = self.averaged(self.covariances(masses), examples)
        return float(np.clip((self.pairs * own).sum() / own.flat[0], 0.0, 1.0)) if own.flat[0] > 0 else 1.0

    def scaled(self, factor: float) -> Field:
        """Return the field beside a term that is the same everywhere: `factor` of the second moment varies."""
        share = 1 + factor * (self.share - 1)
        found = replace(self, share=share, within=self.within * factor, across=self.across * factor)
        beyond, lengths, together = (x * factor**2 for x in (self.beyond, self.lengths, self.together))
        products = None if self.products is None else 1 + factor * (self.products - 1)
        gram = self.gram and self.gram.scaled(factor)
        found = replace(found, beyond=beyond, lengths=lengths, together=together, products=products, gram=gram)
        return replace(found, in_all=in_all.beside(self.in_all, factor))

    def powered(self, exponent: float) -> Field:
        """Return the field whose second moment, at a position and at a place of an example, is a power of itself."""
        if exponent == 1.0:
            return self
        share = np.maximum(self.share, 1e-300) ** exponent
        lengths, together = (exponent * exponent * x for x in (self.by_lag, self.together))
        return replace(self.shaped(share / share.mean()), lengths=lengths, together=together)

    def mapped(self, function: Callable[[Array], Array]) -> Field:
        """Return the field with a function applied to all differences."""
        products = None if self.products is None else 1 - function(1 - self.products)
        within, across = function(self.within), function(self.across)
        return replace(self, within=within, across=across, products=products, gram=None, in_all=None)

    def met(self, other: Field) -> Field:
        """Return the field of a product of independent factors."""
        share = self.share * other.share
        within = self.within + other.within - self.within * other.within
        across = self.across + other.across - self.across * other.across
        found = Field(share / share.mean(), within, across, self.beyond + other.beyond - self.beyond * other.beyond)
        return replace(found, products=each_pair.met(self, other), in_all=in_all.met(self, other))

    def mixed(self, weight: float, other: Field, rest: float) -> Field:
        """Return the field of a sum of independent terms, or of features side by side, of these weights.

        Products of a term with the other vary as much as those within a term, so that of two terms alike nothing goes;
        and places that are long in one are in the other.
        """
        share, within, across = (weight * getattr(self, n) + rest * getattr(other, n) for n in _NAMES)
        one, two = weight * np.sqrt(self.beyond), rest * np.sqrt(other.beyond)
        beyond = weight**2 * self.varying + rest**2 * other.varying + 2 * weight * rest * self._alike_with(other)
        lengths, together = (
            (weight * np.sqrt(np.maximum(a, 0.0)) + rest * np.sqrt(np.maximum(b, 0.0))) ** 2
            for a, b in ((self.lengths, other.lengths), (self.together, other.together))
        )
        given = _shared(self, other, one, two)
        found = Field(share, within, across, beyond, given=given, lengths=lengths, together=together)
        gram = self.gram and self.gram.mixed(weight, other.gram, rest)
        found = replace(found, products=each_pair.mixed(weight, self, rest, other), gram=gram)
        found = replace(found, in_all=in_all.mixed(weight, self, rest, other))
        if self.common is not None or other.common is not None:
            found = replace(found, common=self._common_to((weight, rest), other))
        sizes = [max(x * (1 - f.mean()[1]), 0.0) for x, f in ((weight, self), (rest, other))]
        if (self.means is None and other.means is None) or sum(sizes) <= 0:
            return found
        means = (sizes[0] * self.along_the_mean + sizes[1] * other.along_the_mean) / sum(sizes)
        return replace(found, means=means)

    def _alike_with(self, other: Field) -> Array:
        """Return by lag how products of two places vary together in two terms.

        What of it is one for all pairs of places has nothing to do with what each pair has of its own.
        """
        least = [float(f.varying.min()) for f in (self, other)]
        own = [np.sqrt(f.varying - x) for f, x in zip((self, other), least, strict=True)]
        return np.asarray(math.sqrt(least[0] * least[1]) + own[0] * own[1])

    def _common_to(self, weights: tuple[float, float], other: Field) -> Array | None:
        """Return how products are laid out in a sum: as in each term, by how much of them it has."""
        terms = tuple(zip(weights, (self, other), strict=True))
        sizes = [max(weight * (1 - f.apart()[0]), 0.0) for weight, f in terms]
        if sum(sizes) <= 0:
            return None
        laid = [f.share if f.common is None else f.common for _, f in terms]
        return np.asarray((sizes[0] * laid[0] + sizes[1] * laid[1]) / sum(sizes))

    def transposed(self, order: tuple[int, ...]) -> Field:
        """Return the field with its axes in another order."""
        if order == tuple(range(len(order))):
            return self
        names = ("share", "within", "across", "varying", "by_lag", "drifting")
        share, within, across, beyond, lengths, together = (getattr(self, n).transpose(order) for n in names)
        means, common = (x.transpose(order) if x is not None else None for x in (self.means, self.common))
        found = Field(share, within, across, beyond, given=self.given, lengths=lengths, together=together)
        parted = self.parted and self.parted.turned(lambda x: x.transpose(order))
        return replace(found, means=means, common=common, parted=parted, of_mean=self.of_mean, in_all=self.in_all)

    def kept(self, axes: tuple[int, ...]) -> Field | None:
        """Return the field along some of the axes, at one place of the others."""
        if not axes:
            return None
        if axes == tuple(range(self.share.ndim)):
            return self
        gone = tuple(i for i in range(self.share.ndim) if i not in axes)
        at = tuple(slice(None) if i in axes else 0 for i in range(self.share.ndim))
        share = self.share.mean(axis=gone) if gone else self.share
        beyond, lengths, together = (self.left_over(gone, x) for x in (self.varying, self.by_lag, self.drifting))
        left = replace(self, share=share, within=self.within[at], across=self.across[at], beyond=beyond)
        means, common, parted = (None, None, None) if gone else (self.means, self.common, self.parted)
        of_mean = self.of_mean if all(self._has_apart(axis) for axis in gone) else None
        left = replace(left, lengths=lengths, together=together, means=means, common=common, of_mean=of_mean)
        products, gram = (None, None) if gone else (self.products, self.gram)
        known = self.in_all if all(self.sizes[i] == 1 for i in gone) else None
        left = replace(left, parted=parted, products=products, gram=gram, in_all=known)
        return left.transposed(tuple(np.argsort(np.argsort(axes))))

    def _has_apart(self, axis: int) -> bool:
        """Whether places along an axis have nothing in common: sums over it have of each what it has."""
        far = np.delete(self.within, 0, axis)
        return bool((far > 1 - ROUNDING).all())

    def widened(self, extra: tuple[int, ...], within: float, across: float) -> Field:
        """Return the field with further axes; at lags along them two positions differ by this much."""
        shape = self.sizes + extra
        index: tuple[Any, ...] = (Ellipsis, *(0 for _ in extra))
        new = []
        for old, far in ((self.within, within), (self.across, across)):
            whole = np.full(shape, far)
            whole[index] = old
            new.append(whole)
        share = np.broadcast_to(self.share.reshape(self.sizes + (1,) * len(extra)), shape)
        beyond = self.varying[index[:1] + (None,) * len(extra)] * (1 - new[0]) ** 2
        beyond[index] = self.varying
        of_mean = self.of_mean if share.size == self.count else None
        return Field(share, new[0], new[1], beyond, given=self.given, of_mean=of_mean)


def _roots_by_lag(squares: Array) -> Array:
    """Return the mean product of the roots of two places by lag."""
    return np.asarray(alike(np.ascontiguousarray(squares, dtype=float).tobytes(), squares.shape)[0])


def _shared(one: Field, other: Field, first: Array | float, second: Array | float) -> float:
    """Return the share of the data in a sum's products, as each term's own counts in them."""
    a, b = (float(np.asarray(x).flat[0]) for x in (first, second))
    return (one.given * a + other.given * b) / (a + b) if a + b > 0 else 0.0


_NAMES = ("share", "within", "across")


def everywhere(m: Field, sizes: tuple[int, ...]) -> Field:
    """Return the field of what stands at one position where it is met at all of many, as a gate of an image is."""
    across, beyond = np.full(sizes, m.across.flat[0]), np.full(sizes, m.varied)
    return Field(np.ones(sizes), np.zeros(sizes), across, beyond, given=m.given)


def white(sizes: tuple[int, ...], within: float, across: float, here: float, beyond: float = 0.0) -> Field:
    """Return a field whose lags are all alike; `here` is what two examples differ by at one position."""
    w, a = np.full(sizes, within), np.full(sizes, across)
    w.flat[0], a.flat[0] = 0.0, here
    return Field(np.ones(sizes), w, a, beyond)
