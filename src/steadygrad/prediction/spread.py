"""How the log of a second moment varies from one draw of the weights to the next.

At finite width the second moment of a layer is itself random. Its log is kept as an affine form over independent
noises, one or two a layer,

    log q = log q₀ + mean + Σ_j a_j ε_j,

as in affine arithmetic, so that what two branches of a network share is counted once. A single example b has
Σ_j a_j (ε_j + η_jb), of which η_jb is its own and averages out over the batch; its variance stands beside that of ε_j,
and says what a function that is no power makes of the batch's mean (`Noises.covariance`). The mean square of N units
with relative variance v = κ/N is close to a Gamma variable of shape k = 1/v, hence ε has the cumulants
ψ(k) - log k, ψ'(k), ψ''(k) (cf. Hanin and Rolnick 2018, "How to start training", theorem 5, for the leading order).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

if TYPE_CHECKING:
    from .trail import Trail

Vector = NDArray[np.float64]

RECENT = 64  # forms whose own variance is at hand; of others it is computed again
SMALL = 0.02  # below it the asymptotic series of ψ, ψ' and ψ'' at 1/v, cut after these terms, are right to 1e-8
ROUNDING = 1e-15  # what is left where doubles near one are taken from each other
Z = 1.959964  # the normal score of the upper end of a 95% interval


@dataclass(frozen=True, slots=True)
class Bend:
    """What skews a log second moment that went through a nonlinear loss, and what keeps it large that lies along.

    `curvature` is that of the log loss gradient in the log scale of the logits, a form of weights `scale`. `overlap` is
    the form of how far the gradients of two examples are parallel, on which the variance of all later noises depends;
    `along` the form of how far a gradient lies along its signal, relative to its mean. A `free` gradient is not that of
    a loss but independent of all signals: it lies along them by chance, in each layer anew.
    """

    curvature: float
    scale: Vector
    overlap: Vector
    along: Vector
    free: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """A log second moment: its mean, beside log E[q], and its sensitivities to the noises of a `Noises`, by index.

    `modulation` is by how much the variance of its noises grows with the overlap of `bend`, `third` a third cumulant
    beside those of the noises, `trail` a sample that went through functions as they are, where one is kept: sums and
    multiples of a form have none.
    """

    weights: Vector
    mean: float = 0.0
    bend: Bend | None = None
    modulation: float = 0.0
    third: float = 0.0
    trail: Trail | None = None

    @property
    def centred(self) -> Spread:
        """The form without its mean."""
        return Spread(self.weights)

    def scaled(self, factor: float) -> Spread:
        """Return the form times a number."""
        if factor == 1.0:
            return self
        weights, third = self.weights * factor, self.third * factor**3
        return Spread(weights, self.mean * factor, self.bend, self.modulation, third)

    def shifted(self, mean: float, third: float = 0.0) -> Spread:
        """Return the form with this much more of a mean, and of a third cumulant."""
        return Spread(self.weights, self.mean + mean, self.bend, self.modulation, self.third + third)

    def modulated(self, growth: float, along: float = 0.0, chance: float = 0.0) -> Spread:
        """Return the form whose variance grows by this much with the overlap, and whose mean by `along`.

        `chance` is how much of that is by chance; of less than that nothing is what a free gradient began with. A log
        of unit mean has mean -v/2 where v is its variance: what adds to the one takes from the other.
        """
        if self.bend is None:
            return self
        if self.bend.free:
            along = along - chance if abs(along) > abs(chance) else 0.0
        shift = Spread(self.bend.along * along).plus(Spread(self.bend.overlap * (-growth / 2)))
        return replace(self.plus(shift), modulation=self.modulation + growth)

    def plus(self, other: Spread) -> Spread:
        """Return the sum of two forms over the same noises."""
        long, short = self.weights, other.weights
        if len(short) > len(long):
            long, short = short, long
        total = long.copy()
        total[: len(short)] += short
        bend, modulation = self.bend or other.bend, max(self.modulation, other.modulation)
        return Spread(total, self.mean + other.mean, bend, modulation, self.third + other.third)


CERTAIN = Spread(np.zeros(0))


def within_bounds(share: float, relative_variance: float, known_variance: float) -> float:
    """Return a share of a known noise that is no larger than that of a variable which this noise gives whole."""
    most = math.sqrt(max(relative_variance, 0.0) / known_variance) if known_variance > 0 else 0.0
    return min(max(share, -most), most)


def log_mean(relative_variance: float) -> float:
    """Return E[log X] of a Gamma variable of mean 1 and this variance: ψ(k) - log k = -v/2 - v²/12 + ..., k = 1/v."""
    v = relative_variance
    if not v > 0 or not math.isfinite(v):
        return 0.0
    return -v / 2 - v**2 / 12 + v**4 / 120 if v < SMALL else float(digamma(1 / v)) + math.log(v)


@dataclass(slots=True)
class Noises:
    """The independent noises of one interpretation: variance and third cumulant of each, its mean taken out, and the
    variance of what single examples have beside it. `drawn` is the shape of samples, [draws, examples].
    """

    cumulants: list[tuple[float, float, float]] = field(default_factory=list)
    _table: Vector = field(default_factory=lambda: np.zeros((3, 0)))
    _written: int = 0
    _own: dict[int, tuple[Vector, tuple[float, float]]] = field(default_factory=dict)
    drawn: tuple[int, int] = (0, 0)
    _seeds: int = 0
    _first: dict[int, int] = field(default_factory=dict)

    def sample(self, form: Spread) -> Vector:
        """Return a normal sample of a form without its mean, [draws, examples]: of a noise the same each time."""
        parts: dict[int, list[tuple[float, float, float]]] = {}
        for i in np.flatnonzero(form.weights).tolist():
            (variance, _, apart), weight = self.cumulants[i], float(form.weights[i])
            parts.setdefault(self._first.get(i, i), []).append((weight**2 * variance, weight**2 * apart, weight))
        found = np.zeros((self.drawn[0], 1))
        for first, part in parts.items():
            variance, apart, weight = (sum(x) for x in zip(*part, strict=True))
            found = found + math.copysign(1.0, weight) * self.normal(variance, apart, (first, 0))
        return found

    def together(self, form: Spread) -> None:
        """Let the noises of a form be drawn as one, of which each sample of some of them is a multiple."""
        noises = np.flatnonzero(form.weights).tolist()
        self._first.update(dict.fromkeys(noises, noises[0] if noises else 0))

    def normal(self, variance: float, apart: float, seed: tuple[int, int] | None = None) -> Vector:
        """Return normal numbers of this variance, and of single examples beside it, that average out over a draw's."""
        rng = np.random.default_rng(seed or self._next())
        found = math.sqrt(variance) * rng.standard_normal((self.drawn[0], 1))
        if apart <= 0:
            return found
        own = rng.standard_normal(self.drawn)
        return np.asarray(found + math.sqrt(apart) * (own - own.mean(1, keepdims=True)))

    def each(self, variance: float) -> Vector:
        """Return normal numbers of this variance, for each example its own."""
        return math.sqrt(variance) * np.random.default_rng(self._next()).standard_normal(self.drawn)

    def _next(self) -> tuple[int, int]:
        self._seeds += 1
        return self._seeds, 1

    def fresh(self, relative_variance: float, apart: float = 0.0) -> Spread:
        """Return a new noise: the log of a unit-mean positive variable of this relative variance."""
        v = relative_variance
        if not v > 0 or not math.isfinite(v):
            return self.own(apart)
        if v < SMALL:
            return self.noise(log_mean(v), v + v**2 / 2 + v**3 / 6, -(v**2) - v**3 - v**4 / 2, apart)
        return self.noise(log_mean(v), float(polygamma(1, 1 / v)), float(polygamma(2, 1 / v)), apart)

    def own(self, apart: float) -> Spread:
        """Return a new noise of single examples, which averages out over the batch."""
        return self.noise(0.0, 0.0, 0.0, apart) if apart > 0 else CERTAIN

    def sharing(
        self, relative_variance: float, known: Spread, known_variance: float, share: float, apart: float = 0.0
    ) -> Spread:
        """Return the log of a unit-mean variable that depends on a known noise by `share`, else on a new one."""
        rest = max(relative_variance - share * share * known_variance, 0.0)
        alone = apart - share * share * self.covariance(known, known)[1] if apart else 0.0
        form = known.centred.scaled(share).plus(self.fresh(rest, max(alone, 0.0)).centred)
        return Spread(form.weights, log_mean(relative_variance))

    def noise(self, mean: float, variance: float, third: float, apart: float = 0.0) -> Spread:
        """Return a new noise with these cumulants."""
        self.cumulants.append((variance, third, apart))
        weights = np.zeros(len(self.cumulants))
        weights[-1] = 1.0
        return Spread(weights, mean)

    def of(self, spread: Spread) -> tuple[float, float, float]:
        """Return mean, variance and third cumulant of a form."""
        a = spread.weights
        if not len(a):
            return spread.mean, 0.0, 0.0
        variance, third, _ = self._tabulated()[:, : len(a)]
        square = a * a
        plain = float(square @ variance), float((square * a) @ third)
        bent = self._bent(spread, variance) if spread.bend else (0.0, 0.0)
        return spread.mean, plain[0] + bent[0], plain[1] + bent[1] + spread.third

    def covariance(self, one: Spread, other: Spread) -> tuple[float, float]:
        """Return the covariance of two forms, and that of what a single example has beside them."""
        a, b = one.weights, other.weights
        if a is not b:
            return self._product(a, b)
        found = self._own.get(id(a))
        if found is None:
            if len(self._own) >= RECENT:
                self._own.clear()
            found = self._own[id(a)] = (a, self._product(a, a))
        return found[1]

    def _product(self, a: Vector, b: Vector) -> tuple[float, float]:
        n = min(len(a), len(b))
        if not n:
            return 0.0, 0.0
        variance, _, apart = (self._tabulated()[:, :n] @ (a[:n] * b[:n])).tolist()
        return variance, apart

    def _tabulated(self) -> Vector:
        known, count = self._written, len(self.cumulants)
        if count > self._table.shape[1]:
            larger = np.zeros((3, 2 * count))
            larger[:, :known] = self._table[:, :known]
            self._table = larger
        if count > known:
            self._table[:, known:count] = np.array(self.cumulants[known:]).T
            self._written = count
        return self._table[:, :count]

    def _bent(self, spread: Spread, variance: Vector) -> tuple[float, float]:
        """Return what the bend adds to variance and third cumulant.

        For T + c (δ² - V)/2 with T and δ Gaussian, c² V²/2 and 3 c Cov(T, δ)²; for a T whose variance grows by m r,
        3 m Cov(T, r).
        """
        bend, a = spread.bend, spread.weights
        assert bend is not None
        n, k = len(bend.scale), len(bend.overlap)
        along = float((a[:n] * bend.scale) @ variance[:n])
        own = float(bend.scale**2 @ variance[:n])
        parallel = float((a[:k] * bend.overlap) @ variance[:k])
        c = bend.curvature
        return float(c * c * own * own / 2), 3 * c * along**2 + 3 * spread.modulation * parallel


def quantile(cumulants: tuple[float, float, float], z: float) -> float:
    """Return the quantile at the normal score z of a shifted gamma variable with these three cumulants.

    K = (2/γ) ((1 + γ z/6 - γ²/36)³ - 1), γ the skewness (Wilson and Hilferty 1931); z + (z² - 1) γ/6 for small γ.

    >>> quantile((0.0, 4.0, 0.0), 1.96)
    3.92
    """
    mean, variance, third = (float(c) for c in cumulants)
    if variance <= 0:
        return mean
    return mean + math.sqrt(variance) * _score(z, third / (variance * math.sqrt(variance)))


def _score(z: float, skew: float) -> float:
    """Return the standardised quantile of a gamma variable of this skewness."""
    if abs(skew) < 1e-3:
        return z + (z * z - 1) * skew / 6
    root = max(1 + skew * z / 6 - skew * skew / 36, 0.0)
    return 2 / skew * (root**3 - 1)


def matched(sample: Vector) -> tuple[float, float, float]:
    """Return the cumulants of the shifted gamma variable that has the sample's median and 95% interval.

    A band is asked of them, and moments of a sample with long tails would not give it. The skewness follows from the
    asymmetry of the interval, (high + low - 2 median)/(high - low) = z γ/6 to first order.
    """
    low, middle, high = np.quantile(sample, [0.025, 0.5, 0.975])
    if not high > low:
        return float(middle), 0.0, 0.0
    skew = float(np.clip(6 * (high + low - 2 * middle) / (high - low) / Z, -2, 2))
    deviation = float(high - low) / (_score(Z, skew) - _score(-Z, skew))
    return float(middle) - deviation * _score(0.0, skew), deviation**2, skew * deviation**3


def band(q: float, cumulants: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the median of a draw of q and its 95% band, from E[q] and the cumulants of its log."""
    low, middle, high = (q * exponential(quantile(cumulants, z)) for z in (-Z, 0.0, Z))
    return middle, low, high


def exponential(x: float) -> float:
    """Return e^x, infinite where a double cannot hold it."""
    return math.exp(x) if x < 709 else math.inf
