"""A Gaussian source: pre-activations of one layer over its units, and functions of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import hermite
from .field import Field
from .hermite import Expansion
from .spread import CERTAIN, Spread
from .stretched import BEYOND
from .values import Array, Moments

if TYPE_CHECKING:
    from .mean_of_all import Fixed
    from .parting import Parting
    from .trail import Trail
    from .values import Chosen


@dataclass(frozen=True, slots=True)
class Onward:
    """The function of a source that goes on: its values, its expansion, and the noise that it added to the spread.

    `variance` is that of the noise per unit; `alone` the noise of single examples beside it, of variance `apart`; `far`
    are the values beyond the nodes.
    """

    values: Array
    expansion: Expansion
    noise: Spread
    variance: float
    alone: Spread = CERTAIN
    apart: float = 0.0
    far: Array | None = None


@dataclass(eq=False)
class Source:
    """Units z_b = mean_b + std_b ξ_b, jointly Gaussian over the examples b, independent over `units` units.

    `gap` is 1 - corr(ξ_b, ξ_b'). `before` is how log q varies over draws without what these units themselves add,
    `noise` what they add, of variance `own_variance`/units; `own_apart` is by how much one example's is beyond the
    covariance of two of them. `excess` is that of products over these units (see `Moments`), `before_excess` what
    their covariances have of it: how E[ξ_b ξ_b'] itself varies over draws; so does `parting`. `fourth` is the fourth
    cumulant of a unit's own mean over draws, as a uniform bias gives it, relative to the variance squared. `onward` is
    the last function of the source, the one that goes on: backward functions share its noise. `settled` is how many
    Hermite orders of the units do not vary: a norm fixes the sum and the sum of squares, orders 1 and 2. `field` is how
    positions differ; their average is in `own_variance`. `root` are the moments of the units themselves. `free` is how
    free their squares and products are to vary, and `kurtosis` that of a unit beyond a Gaussian's: units of an
    orthogonal matrix lie on a sphere. `kept` is what of the own variance, and of one example's, such a matrix keeps.
    `sphere` is of how many dimensions that is on which a norm puts what it takes together. `terms` are the two waves
    that a folded sum is of, and the sum on the nodes. `shared` and `alone` are the parts of `noise`, the batch's and
    single examples'; `of_signal` is the share that the signal has in the second moment, beside a bias; `tails` is what
    weights that are not Gaussian add to `own_variance`. `lopsided` is the squared mean of w z over positions that a
    norm took together, w their lengths: long ones lie on one side. `trail` is a sample of `before`, where functions
    have bent it. `of` is how many units a layer has of which these are a part, 0 where they are all. `of_one_length`
    says that those of each place are, as behind a layer norm. `fixed` is what a norm fixes of sums over places.
    `factors` are the two waves that a folded product is of, and the product on the nodes. `chosen` says of which places
    units are the largest; `steps` are the functions that places are, each of a source of its own, and how all their
    entries are distributed, as a function of a normal on its nodes. `normed` is the function whose second moment a norm
    fixes, where it is not that of the units themselves.
    """

    mean: Array
    std: Array
    gap: Array
    units: float
    before: Spread
    noise: Spread
    own_variance: float
    excess: Array | float = 0.0
    before_excess: Array | float = 0.0
    own_apart: float = 0.0
    parting: Parting | None = None
    fourth: float = 0.0
    settled: int = 0
    field: Field | None = None
    parts: dict[Hashable, Source] = dataclasses.field(default_factory=dict)
    onward: Onward | None = dataclasses.field(default=None)
    root: Moments | None = None
    free: float = 1.0
    kurtosis: float = 0.0
    sphere: float = math.inf
    terms: tuple[Wave, Wave, Array] | None = dataclasses.field(default=None)
    shared: Spread | None = None
    alone: Spread | None = None
    of_signal: float = 1.0
    tails: float = 0.0
    of_one_length: bool = False
    fixed: Fixed | None = None
    lopsided: float = 0.0
    kept: tuple[float, float] = (0.0, 0.0)
    trail: Trail | None = None
    of: float = 0.0
    chosen: Chosen | None = None
    steps: tuple[tuple[Wave, ...], Array] | None = None
    factors: tuple[Wave, Wave, Array] | None = None
    normed: Array | None = None

    def part(self, place: Hashable, share: float, field: Field | None = None) -> Source:
        """Return the units at some place in the tensor, a share of all: other units than those of another place."""
        if place not in self.parts:
            units = max(self.units * share, 1.0)
            whole = self.of or self.units
            self.parts[place] = replace(self, units=units, onward=None, parts={}, field=field, trail=None, of=whole)
        return self.parts[place]

    @property
    def plain(self) -> bool:
        """Whether units are Gaussian and have no positions."""
        return self.field is None and self.kurtosis == 0

    @property
    def lone(self) -> bool:
        """Whether units have no positions: Gaussian ones, and those of an orthogonal matrix."""
        return self.field is None

    @property
    def varies(self) -> bool:
        """Whether the units' squares and products do: those of an orthogonal matrix are what went in."""
        return self.free > 0 or self.field is not None

    @property
    def gaussian_variance(self) -> float:
        """What the own variance of Gaussian weights would be."""
        return self.own_variance - self.tails

    @property
    def fresh(self) -> tuple[float, float]:
        """What of the own variance, and of one example's, a matrix adds to that of what went in."""
        return self.own_variance - self.kept[0], self.own_apart - self.kept[1]

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

    @property
    def far(self) -> Array:
        """Values of z beyond the nodes."""
        rows = slice(0, 1) if self.alike else slice(None)
        return np.asarray(self.mean[rows, None] + self.std[rows, None] * BEYOND)

    @cached_property
    def pairs(self) -> tuple[NDArray[np.intp], ...]:
        """Index pairs of distinct examples."""
        return np.triu_indices(len(self.mean), 1)

    @property
    def decay(self) -> Array:
        """1 - c^n for the pairs of distinct examples."""
        return decay_of(self, ALL)

    @property
    def decay_of_squares(self) -> Array:
        """1 - E[c^n] for the pairs of distinct examples, where c varies over draws by what `before_excess` says.

        Its first order is the mean's own; the others are taken at the root of its mean square.
        """
        return decay_of_squares_of(self, ALL)

    def rows(self, per_row: Array) -> Array:
        """Return one value an example from one value a row of `nodes`."""
        return per_row.repeat(len(self.mean)) if len(per_row) == 1 else per_row

    def square(self, below: Array, diagonal: Array) -> Array:
        """Return a symmetric matrix from its values at the pairs and on the diagonal."""
        matrix = np.zeros((len(self.mean), len(self.mean)))
        i, j = self.pairs
        matrix[i, j] = matrix[j, i] = below
        matrix.flat[:: len(matrix) + 1] = diagonal
        return matrix

    def difference(self, f: Expansion) -> Array:
        """Return E[(f(z_b) - f(z_b'))²]/2 for all pairs."""
        a = f.plain
        if len(a) == 1:
            return self.square(self.decay @ (a[0] * a[0]), _ZERO)
        i, j = self.pairs
        n = hermite.count(a)
        one, other, decay = a[i, :n], a[j, :n], decay_of(self, self._asked(n))[:, :n]
        apart = one - other
        one *= other
        return self.square(_dot(apart, apart) / 2 + _dot(one, decay), _ZERO)

    def _asked(self, number: int) -> int:
        """Return how many terms and blocks are found where so many are asked for: a parting asks for all."""
        return number if self.parting is None else ALL

    def covariance(self, f: Expansion, g: Expansion, settled: int = 0, without: int = 0) -> Array:
        """Return Cov(f(z_b)², g(z_b')²) for all pairs of examples, the diagonal included; without settled orders."""
        if len(f.square) == len(g.square) == 1:
            terms = f.square[0] * g.square[0]
            terms[: settled + 1] = terms[without] = 0.0
            own = terms.sum()
            return self.square(own - self.decay_of_squares @ terms, own)
        n = min(hermite.count(x.square) for x in (f, g))
        a, b = (np.broadcast_to(x.square[:, :n], (len(self.mean), n)).copy() for x in (f, g))
        a[:, : settled + 1] = b[:, : settled + 1] = 0.0
        a[:, without] = b[:, without] = 0.0
        i, j = self.pairs
        joint = a[i] * a[j] if f is g else (a[i] * b[j] + a[j] * b[i]) / 2
        left = 1 - decay_of_squares_of(self, self._asked(n))[:, :n]
        return self.square(_dot(joint, left), _dot(a, b))

    def of_squares(self, f: Expansion) -> Array:
        """Return what of the covariance of f² with itself is of its second order, of squares and products of units."""
        second = np.broadcast_to(f.square[:, 2], len(self.mean))
        decay = decay_of_squares_of(self, self._asked(hermite.count(f.square)))
        return self.square(1 - decay[:, 2], np.ones(1)) * np.outer(second, second)


def _dot(a: Array, b: Array) -> Array:
    """Return the products of rows."""
    return np.asarray(np.einsum("ij,ij->i", a, b))


_ZERO = np.zeros(1)
ALL = hermite.TERMS + hermite.BLOCKS
RECENT = 64  # sources whose decays, up to half a megabyte each, are at hand; of others they are computed again


@lru_cache(maxsize=RECENT)
def decay_of(source: Source, number: int) -> Array:
    """Return 1 - c^n, [pairs, terms + blocks], of these all or the terms."""
    return hermite.decay(source.gap[source.pairs], number)


@lru_cache(maxsize=RECENT)
def decay_of_squares_of(source: Source, number: int) -> Array:
    """Return 1 - E[c^n], [pairs, terms + blocks], of these all or the terms."""
    decay = decay_of(source, number)
    if not np.any(source.before_excess):
        return decay
    c = 1 - source.gap[source.pairs]
    excess = np.broadcast_to(source.before_excess, source.gap.shape)[source.pairs]
    squares = hermite.decay(1 - np.sqrt(np.clip(c * c + excess, 0.0, 1.0)), number)
    squares[:, 1] = decay[:, 1]
    return squares


def forget_decays() -> None:
    """Let go of all that is at hand."""
    decay_of.cache_clear()
    decay_of_squares_of.cache_clear()


@dataclass(frozen=True, slots=True)
class Wave:
    """A function of a source by its values on the nodes, [examples or 1, nodes]; without one a constant, [1, 1].

    `far` are its values beyond the nodes, at `stretched.BEYOND` deviations, where they are known.
    """

    source: Source | None
    values: Array
    gaussian: bool = False
    far: Array | None = None


ONE = Wave(None, np.ones((1, 1)))


def sensitivity(f: Expansion) -> float:
    """Return d log E[f²] / d log Var(z) = E[f²(z² - 1)] / (2 E[f²]), by Stein's identity; the mean over rows."""
    second = float(f.q.sum())
    return float(f.stein.sum()) / (2 * second) if second > 0 else 0.0


def of_fourth_cumulant(values: Array) -> float:
    """Return what a fourth cumulant κ of z adds to E[f⁴]/E[f²]², over κ: E[f⁴ (z⁴ - 6z² + 3)]/24 E[f²]² (Edgeworth)."""
    z, w, _, _ = hermite.tables()
    square = (values * values).mean(0)
    second = float(square @ w)
    return float(square**2 @ (w * (z**4 - 6 * z**2 + 3))) / (24 * second**2) if second > 0 else 0.0


def at_both(wave: Wave, x: Wave, y: Wave, larger: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Return a function of a folded sum at the nodes of both of its terms, [nodes of x, nodes of y].

    Of terms of which each is a function of a Gaussian that is so much larger.
    """
    assert wave.source is not None
    assert wave.source.terms is not None
    z = hermite.tables()[0]
    one, other = (np.interp(z * s, z, term.values[0]) for s, term in zip(larger, (x, y), strict=True))
    return np.asarray(np.interp(np.interp(one[:, None] + other, wave.source.terms[2], z), z, wave.values.mean(0)))
