"""A Gaussian source: pre-activations of one layer over its units, and functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import hermite
from .spread import Spread
from .values import Array


@dataclass(eq=False)
class Source:
    """Units z_b = mean_b + std_b ξ_b, jointly Gaussian over the examples b, independent over `units` units.

    `gap` is 1 - corr(ξ_b, ξ_b'). `before` is how log q varies over draws without what these units themselves add,
    `noise` what they add, of variance `own_variance`/units. `first` is what the first function of the source added to
    the spread: backward functions share it.
    """

    mean: Array
    std: Array
    gap: Array
    units: int
    before: Spread
    noise: Spread
    own_variance: float
    excess: Array | float = 0.0
    first: tuple[Spread, float, Array] | None = field(default=None)

    @cached_property
    def spread(self) -> Spread:
        """How log q varies over draws."""
        return self.before.plus(self.noise)

    @cached_property
    def alike(self) -> bool:
        """Whether all examples have the same mean and deviation."""
        return bool(np.ptp(self.std) <= 1e-12 * self.std.max() and np.ptp(self.mean) <= 1e-12 * self.std.max())

    @cached_property
    def nodes(self) -> Array:
        """Values of z on the quadrature nodes, [examples or 1, nodes]."""
        z = hermite.tables()[0]
        rows = slice(0, 1) if self.alike else slice(None)
        return np.asarray(self.mean[rows, None] + self.std[rows, None] * z)

    @cached_property
    def pairs(self) -> tuple[NDArray[np.intp], ...]:
        """Index pairs of distinct examples."""
        return np.triu_indices(len(self.mean), 1)

    @cached_property
    def decay(self) -> Array:
        """1 - c^n for the pairs of distinct examples."""
        return hermite.decay(self.gap[self.pairs])

    def rows(self, per_row: Array) -> Array:
        """Return one value an example from one value a row of `nodes`."""
        return np.broadcast_to(per_row, self.mean.shape) if self.alike else per_row

    def square(self, below: Array, diagonal: Array) -> Array:
        """Return a symmetric matrix from its values at the pairs and on the diagonal."""
        matrix = np.zeros((len(self.mean), len(self.mean)))
        matrix[self.pairs] = below
        matrix += matrix.T
        np.fill_diagonal(matrix, diagonal)
        return matrix

    def difference(self, values: Array) -> Array:
        """Return E[(f(z_b) - f(z_b'))²]/2 for all pairs, for f by its values on the nodes."""
        a = hermite.coefficients(values)
        if self.alike:
            return self.square(self.decay @ a[0] ** 2, np.zeros(1))
        i, j = self.pairs
        return self.square(((a[i] - a[j]) ** 2).sum(1) / 2 + (a[i] * a[j] * self.decay).sum(1), np.zeros(1))

    def covariance(self, f: Array, g: Array) -> Array:
        """Return Cov(f(z_b), g(z_b')) for all pairs of examples, the diagonal included; f and g by their values."""
        a, b = hermite.coefficients(f), hermite.coefficients(g)
        a[:, 0] = b[:, 0] = 0.0
        own = self.rows((a * b).sum(1))
        if self.alike:
            return self.square(own[0] - self.decay @ (a[0] * b[0]), own)
        i, j = self.pairs
        kept = 1 - self.decay
        return self.square(((a[i] * b[j] + a[j] * b[i]) / 2 * kept).sum(1), own)


@dataclass(frozen=True, slots=True)
class Wave:
    """A function of a source by its values on the nodes, [examples or 1, nodes]; a constant, [1, 1], without a source."""

    source: Source | None
    values: Array
    gaussian: bool = False


ONE = Wave(None, np.ones((1, 1)))


def mean_of(values: Array) -> Array:
    """Return E[f] for each row."""
    return np.asarray(values @ hermite.tables()[1])


def sensitivity(values: Array) -> float:
    """Return d log E[f²] / d log Var(z) = E[f²(z² - 1)] / (2 E[f²]), by Stein's identity; the mean over rows."""
    z, w, *_ = hermite.tables()
    square = values**2
    second = float((square @ w).sum())
    return float((square @ (w * (z * z - 1))).sum()) / (2 * second) if second > 0 else 0.0
