"""How the entries of one feature differ from position to position: pixels of an image, steps of a sequence.

Taken as stationary: the product of two positions depends on their distance (the lag) alone, apart from a map of how
much each position's second moment is of the mean. Kept as differences, as in `Moments.d`, so nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hermite import decay

Array = NDArray[np.float64]
DIRECT = 64  # lags up to which a map is taken at each of them, and not between the points of a grid
MOST = 1 << 22  # entries of data whose lags are looked at: half a second, and 256 MB
GRID = 2 * np.linspace(0, 1, 257) ** 2


@dataclass(frozen=True, slots=True)
class Field:
    """`share`: [*positions], second moment relative to its mean; `within` and `across`: [*lags], one less the product
    of an example, and of two distinct ones, at two positions that far apart, relative to the second moment.
    """

    share: Array
    within: Array
    across: Array

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
        return _weights(self.sizes)

    def mean(self) -> tuple[float, float]:
        """Return the means of `within` and `across` over all pairs of positions."""
        w = self.weights
        return float((w * self.within).sum()), float((w * self.across).sum())

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
        w, one = self.weights, 1 / examples
        own = one * (1 - self.within) ** 2 + (1 - one) * (1 - self.across) ** 2
        return float(min((w * own).sum() / own.flat[0], 1.0))

    def average(self, masses: Array, examples: int) -> float:
        """Return the mean of sum_n masses_n c^n over all pairs, relative to that over the pairs at one position."""
        whole, w, one = float(masses.sum()), self.weights, 1 / examples
        own = one * (whole - decayed(self.within, masses)) + (1 - one) * (whole - decayed(self.across, masses))
        return float(np.clip((w * own).sum() / own.flat[0], 0.0, 1.0)) if own.flat[0] > 0 else 1.0

    def scaled(self, factor: float) -> Field:
        """Return the field beside a term that is the same everywhere: `factor` of the second moment varies."""
        share = 1 + factor * (self.share - 1)
        return Field(share, self.within * factor, self.across * factor)

    def powered(self, exponent: float) -> Field:
        """Return the field whose second moment at a position is a power of what it was."""
        if exponent == 1.0 or not np.ptp(self.share):
            return self
        share = np.maximum(self.share, 1e-300) ** exponent
        return replace(self, share=share / share.mean())

    def mapped(self, function: Callable[[Array], Array]) -> Field:
        """Return the field with a function applied to all differences."""
        return replace(self, within=function(self.within), across=function(self.across))

    def met(self, other: Field) -> Field:
        """Return the field of a product of independent factors."""
        share = self.share * other.share
        within = self.within + other.within - self.within * other.within
        across = self.across + other.across - self.across * other.across
        return Field(share / share.mean(), within, across)

    def mixed(self, weight: float, other: Field, rest: float) -> Field:
        """Return the field of a sum of independent terms, or of features side by side, of these weights."""
        parts = (weight * getattr(self, n) + rest * getattr(other, n) for n in ("share", "within", "across"))
        return Field(*parts)

    def transposed(self, order: tuple[int, ...]) -> Field:
        """Return the field with its axes in another order."""
        if order == tuple(range(len(order))):
            return self
        return Field(*(x.transpose(order) for x in (self.share, self.within, self.across)))

    def kept(self, axes: tuple[int, ...]) -> Field | None:
        """Return the field along some of the axes, at one place of the others."""
        if not axes:
            return None
        gone = tuple(i for i in range(self.share.ndim) if i not in axes)
        at = tuple(slice(None) if i in axes else 0 for i in range(self.share.ndim))
        share = self.share.mean(axis=gone) if gone else self.share
        return Field(share, self.within[at], self.across[at]).transposed(tuple(np.argsort(np.argsort(axes))))

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
        return Field(share, *new)


def white(sizes: tuple[int, ...], within: float, across: float, here: float) -> Field:
    """Return a field whose lags are all alike; `here` is what two examples differ by at one position."""
    w, a = np.full(sizes, within), np.full(sizes, across)
    w.flat[0], a.flat[0] = 0.0, here
    return Field(np.ones(sizes), w, a)


@lru_cache(maxsize=256)
def _weights(sizes: tuple[int, ...]) -> Array:
    axes = []
    for n in sizes:
        w = 2.0 * (n - np.arange(n)) / n**2
        w[0] = 1 / n
        axes.append(w)
    return np.asarray(reduce(np.multiply.outer, axes))


def decayed(gaps: Array, masses: Array) -> Array:
    """Return sum_n masses_n (1 - c^n) at c = 1 - gap, [*gaps]; between the points of a grid where there are many."""
    flat = np.clip(gaps.ravel(), 0.0, 2.0)
    if flat.size <= DIRECT:
        distinct, back = np.unique(flat, return_inverse=True)
        return np.asarray((decay(distinct) @ masses)[back].reshape(gaps.shape))
    return np.asarray(np.interp(flat, GRID, decay(GRID) @ masses).reshape(gaps.shape))


def of_data(values: Array) -> Field:
    """Return the field of data, [examples, *positions, features]; of many entries, from some of the examples."""
    values = values[:: max(min(values.size // MOST, len(values) // 2), 1)]
    sizes = values.shape[1:-1]
    q = max(float((values**2).mean()), 1e-300)
    share = (values**2).mean((0, -1)) / q
    own = _autocorrelation(values, sizes)
    whole = _autocorrelation(values.sum(0, keepdims=True), sizes)
    examples = len(values)
    within = own.sum(0) / examples / q
    across = (whole[0] - own.sum(0)) / max(examples * (examples - 1), 1) / q
    return Field(share, np.maximum(1 - within, 0.0), np.maximum(1 - across, 0.0) if examples > 1 else 1 - within)


def _autocorrelation(values: Array, sizes: tuple[int, ...]) -> Array:
    """Return the mean product of entries by their lag, [examples, *lags], over pairs of positions and features."""
    axes = tuple(range(1, 1 + len(sizes)))
    padded = [2 * n for n in sizes]
    f = np.fft.rfftn(values, s=padded, axes=axes)
    power = np.fft.irfftn((f * f.conj()).real, s=padded, axes=axes).mean(-1)
    for axis, n in zip(axes, sizes, strict=True):
        near = np.take(power, range(n), axis=axis)
        far = np.take(power, [0, *range(2 * n - 1, n, -1)], axis=axis)
        counts = (n - np.arange(n)).reshape([-1 if i == axis else 1 for i in range(power.ndim)])
        power = (near + far) / 2 / counts
    return np.asarray(power)
