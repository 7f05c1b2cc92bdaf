"""Some examples stand for the batch: which, and what averages over all its pairs come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from .hermite import tables
from .overlap import growth
from .spread import Noises
from .values import Array, Moments

MOST = 24
MOST_DRAWN = 256  # examples that samples have each of: the root of a larger covariance takes longer than all the rest
AT_ONCE = 1 << 21  # entries of data that are looked at in double precision at a time: 16 MB


@dataclass(frozen=True, slots=True)
class Batch:
    """`size` examples, of which those at `chosen` are followed; `stand_in` gives for each example the one that stands
    for it, as an index into `chosen`. `each` says that samples are drawn of each example, and not of the followed ones.
    """

    size: int
    chosen: NDArray[np.intp]
    stand_in: NDArray[np.intp]
    each: bool = False

    @property
    def followed(self) -> int:
        """How many examples are followed."""
        return len(self.chosen)

    @property
    def each_drawn(self) -> bool:
        """Whether samples have each example of the batch, and not a copy of the one that stands for it."""
        return self.each or self.followed == self.size

    def of_all(self, gap: Array) -> Array:
        """Return differences of all examples from those of the followed ones, where each is drawn.

        Two that one stands for differ as any two do, on average.
        """
        if not self.each_drawn or self.followed == self.size:
            return gap
        whole = gap[np.ix_(self.stand_in, self.stand_in)]
        whole[self.stand_in[:, None] == self.stand_in] = self.distinct_mean(gap)
        np.fill_diagonal(whole, 0.0)
        return whole

    def pair_mean(self, matrix: Array) -> float:
        """Return the mean over the diagonal and over all pairs of the whole batch, (1/B²) Σ_bb' m_bb'."""
        return float(matrix.ravel() @ _weights(self.size, len(self.chosen)))

    def overlap(self, m: Moments) -> float:
        """Return the mean over all pairs of E[(x·y/n)²], relative to q squared: 1 where all examples are one.

        The batch-averaged square of a Gaussian unit has twice this relative variance.
        """
        q = float(m.q.sum()) / len(m.q)
        if q <= 0:
            return 0.0
        product = m.product
        varying = self.off_diagonal(m.excess) if m.field is None else self.bounded(m.field.varied, product, m.q)
        return min(self.pair_mean((product / q) ** 2) + self.pair_mean(varying), 1.0)

    def pair_overlap(self, m: Moments) -> float:
        """Return the mean over pairs of distinct examples of E[(x·y/n)²], relative to q squared; 1 where one is all."""
        q = float(m.q.sum()) / len(m.q)
        if q <= 0 or len(m.q) < 2:
            return 1.0
        return min(self.distinct_mean((m.product / q) ** 2) + self.distinct_mean(self.off_diagonal(m.excess)), 1.0)

    def growth(self, m: Moments, noises: Noises) -> float:
        """Return by how much a Gaussian layer lets products of distinct examples vary, in a typical draw, per unit."""
        return self._growth(m, 0.0, self.concentration(noises.covariance(m.spread, m.spread)[1]))

    def growth_of_cosines(self, m: Moments) -> float:
        """Return by how much it lets cosines vary, of any two examples: those that are large count no more than others.

        That is the law of two vectors, each of which is half of all that there is.
        """
        return self._growth(m, m.by_size, 0.5)

    def _growth(self, m: Moments, by_size: float, weight: float) -> float:
        q = float(m.q.sum()) / len(m.q)
        if q <= 0 or len(m.q) < 2:
            return 0.0
        return growth(self.distinct_mean(m.product) / q, self.pair_overlap(m) - by_size, weight)

    def apart_of(self, m: Moments) -> float:
        """Return by how much the squared product of an example with itself is beyond that of two, relative to q²."""
        q = float(m.q.sum()) / len(m.q)
        if q <= 0:
            return 0.0
        return max(self.alone(m.product**2 + self.off_diagonal(m.excess * q * q), m.q), 0.0)

    def concentration(self, variance: float) -> float:
        """Return E[Σ w²] of the weights w that examples have in a mean, their logs normal about each other.

        1/B where all are alike, e^v/B for small variances v, 1 where the largest is all there is.
        """
        if variance <= 0 or self.size == 1:
            return 1 / self.size
        return _between(variance, _concentrations(self.size))

    def lifted(self, variance: float) -> float:
        """Return E[log mean e^x] for independent normal x of this variance and mean 0, one an example.

        It grows by half of 1 - `concentration` with the variance: v/2 (1 - 1/B) while that is small. Where the largest
        is all there is, log of their sum goes with the deviation.
        """
        if variance <= 0 or self.size == 1:
            return 0.0
        known, wide = _of_log_means(self.size)[2], max(math.sqrt(variance) / _DEVIATIONS[-1], 1.0)
        return float(np.interp(variance, _DEVIATIONS**2, known) + (known[-1] + math.log(self.size)) * (wide - 1))

    def uneven(self, variance: float) -> float:
        """Return E[1 - Σ √(l l')/((B - 1) Σ l)], over pairs of distinct lengths l, their logs normal of this variance.

        By so much less two examples have in common, relative to their mean square: v/4 while that is small.
        """
        if variance <= 0 or self.size == 1:
            return 0.0
        return -math.expm1(-variance / 4) * _between(variance, _unevenness(self.size))

    def gathered(self, variance: float) -> float:
        """Return d Var(log mean e^x)/d variance for independent normal x of this variance, one an example.

        Where one example outweighs the others the mean is large and they add less: Σ w² less its covariance with it.
        """
        if variance <= 0 or self.size == 1:
            return 1 / self.size
        return _between(variance, _of_log_means(self.size)[0])

    def gathers(self, variance: float) -> float:
        """Return the same beyond what it is where all examples are of one length."""
        return self.gathered(variance) - 1 / self.size

    def skewed(self, variance: float) -> float:
        """Return the third cumulant of the log of a mean of e^x, of independent normal x of this variance."""
        if variance <= 0 or self.size == 1:
            return 0.0
        return _between(variance, _of_log_means(self.size)[1]) * variance**3

    def bounded(self, excess: Array | float, product: Array, q: Array) -> Array:
        """Return the excess of products of examples, no more than what is left of q q': E[(x·y)²] <= E[|x|² |y|²]."""
        size = float(q.sum()) / len(q)
        if size <= 0:
            return self.off_diagonal(0.0)
        left = np.maximum(1 - (product / size) ** 2, 0.0)
        return self.off_diagonal(np.minimum(excess, left))

    def off_diagonal(self, values: Array | float) -> Array:
        """Return a matrix of the followed examples with these values, zero on the diagonal."""
        return np.asarray(values * _apart(len(self.chosen)))

    def centred_square(self, d: Array) -> Array:
        """Return the squared deviation of each followed example from the mean of the batch, from the differences d.

        |x - x̄|² = 2 mean_b' d(x, b') - mean_bb' d(b, b'), the mean over the whole batch, x itself at distance 0.
        """
        r = len(self.chosen)
        mean = d.sum(1) / max(r - 1, 1) * (1 - 1 / self.size)
        return np.asarray(2 * mean - self.pair_mean(d))

    def apart(self, matrix: Array) -> float:
        """Return by how much the mean over the diagonal is beyond that over pairs of distinct examples."""
        return float(matrix.ravel() @ _contrast(len(matrix))) if len(matrix) > 1 else 0.0

    def alone(self, matrix: Array, q: Array) -> float:
        """Return the same of a covariance of squares, relative to the mean squares q: lengths that differ add nothing.

        A pair of which one is zero has none.
        """
        size = np.outer(q, q)
        return self.apart(np.divide(matrix, size, out=np.zeros_like(size), where=size > 0))

    def distinct_mean(self, matrix: Array) -> float:
        """Return the mean over pairs of distinct examples; NaN where there is one example only."""
        r = len(self.chosen)
        return float(matrix.ravel() @ _distinct(r)) if r > 1 else float("nan")


_APART = 0.125
_DEVIATIONS = np.arange(49) * _APART
_FIRST = 4  # of them from which on a third cumulant is known: 1/2


_STEP = 0.25
_LOGS = np.arange(-60.0, 40.0, _STEP)  # of t


def _between(variance: float, table: Array) -> float:
    """Return what a table over the deviations above has at that of a variance, between two of them along a line."""
    place = math.sqrt(variance) / _APART
    if not place < len(table) - 1:
        return float(table[-1]) if place > 0 else place  # NaN of a NaN
    below = int(place)
    return float(table[below] + (place - below) * (table[below + 1] - table[below]))


@cache
def _transforms() -> tuple[Array, Array, Array, Array]:
    """Return E[(t e^x)^n exp(-t e^x)], n = 0, ½, 1, 2, of normal x of the deviations above, [deviations, logs of t]."""
    z, weights, _, _ = tables()
    found = np.empty((4, len(_DEVIATIONS), len(_LOGS)))
    for i, deviation in enumerate(_DEVIATIONS):
        spent = np.exp(np.minimum(_LOGS[:, None] + deviation * z, 700.0))
        left = np.exp(-spent)
        for row, n in zip(found[:, i], (0, 0.5, 1, 2), strict=True):
            row[:] = (left * spent**n) @ weights
    return found[0], found[1], found[2], found[3]


@cache
def _concentrations(size: int) -> Array:
    """Return E[Σ w²], w = e^x/Σ e^x, of independent normal x of the deviations above.

    1/s² = ∫ t e^(-st) dt, so it is B ∫ t E[e^(2x - t e^x)] E[e^(-t e^x)]^(B-1) dt, by the trapezoid rule in log t.
    """
    alive, _, _, second = _transforms()
    return np.asarray(size * _STEP * (second * alive ** (size - 1)).sum(1))


@cache
def _unevenness(size: int) -> Array:
    """Return E[1 - Σ e^((x + x')/2)/((B - 1) Σ e^x)] over 1 - e^(-v/4), what it is of very many examples.

    1/s = ∫ e^(-st) dt, so the sum is B (B - 1) ∫ E[e^(x/2 - t e^x)]² E[e^(-t e^x)]^(B-2) dt.
    """
    alive, half, _, _ = _transforms()
    left = 1 - size * _STEP * (half**2 * alive ** (size - 2)).sum(1)
    return np.concatenate([[1.0], left[1:] / -np.expm1(-(_DEVIATIONS[1:] ** 2) / 4)])


@cache
def _of_log_means(size: int) -> tuple[Array, Array, Array]:
    """Return the slope in v of Var L, L = log mean e^x over `size` normal x of variance v, L's third over v³, and E[L].

    E[exp(-t Σ e^x)] = E[exp(-t e^x)]^B is the chance that log E - log Σ e^x > log t for an exponential E. So the
    cumulants of that difference are those of log E, and with the signs of -L those of L.
    """
    alive, _, first, _ = _transforms()
    density = size * first * alive ** (size - 1)
    mean = _STEP * density @ _LOGS
    off = _LOGS - mean[:, None]
    variance, skew = (_STEP * (density * off**n).sum(1) for n in (2, 3))
    squares = _DEVIATIONS**2
    slope = np.gradient(variance, squares)
    slope[0] = 1 / size
    third = (skew[0] - skew) / np.maximum(squares, squares[_FIRST]) ** 3
    third[:_FIRST] = third[_FIRST]  # of smaller variances rounding is more than it
    return slope, third, mean[0] - mean


@cache
def _apart(followed: int) -> Array:
    return 1 - np.eye(followed)


@cache
def _distinct(followed: int) -> Array:
    return (_apart(followed) / (followed * (followed - 1))).ravel()


@cache
def _contrast(followed: int) -> Array:
    return np.eye(followed).ravel() / followed - _distinct(followed)


@cache
def _weights(size: int, followed: int) -> Array:
    """Weights of a mean over the pairs of `size` examples by those of `followed` ones."""
    own = np.eye(followed) / (followed * (size if followed > 1 else 1))
    return (own if followed == 1 else own + _apart(followed) * (1 - 1 / size) / (followed * (followed - 1))).ravel()


def exchangeable(size: int) -> Batch:
    """Return a batch whose examples all have the same moments: two stand for all."""
    r = min(size, 2)
    return Batch(size, np.arange(r), np.arange(size) % r)


def representatives(x: torch.Tensor) -> Batch:
    """Return a batch of data, [examples, ...]: up to 24 examples, evenly spaced in the order of their norms."""
    size = len(x)
    rows = x.reshape(size, -1)
    parts = rows.split(max(AT_ONCE // rows.shape[1], 1))
    norms = torch.cat([part.double().square().sum(1) for part in parts])
    order = np.argsort(norms.numpy(), kind="stable")
    r = min(size, MOST)
    place = ((np.arange(r) + 0.5) * size / r).astype(np.intp)
    rank = np.empty(size, dtype=np.intp)
    rank[order] = np.arange(size)
    return Batch(size, order[place], np.minimum(rank * r // size, r - 1))
