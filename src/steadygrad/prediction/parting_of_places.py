"""How far examples lie apart at finite width where there are positions: γ of a place, beside lengths that differ.

As `parting` has it for vectors, of which there is one an example and a place. Of 1 - c = D of two examples a part is
their angle at each place, γ, and a part that their lengths differ there: with relative covariance V of the lengths that
examples have of their own,

    1 - D = (1 - γ) E[√(l l')]/E[l] = (1 - γ)(1 + V)^(-1/4)    (l lognormal).

Sums over windows keep D, as they keep all products, and average V: what lengths differ by at near places is an angle
behind them. A function of N units takes γ to that of its map and N units draw d and q anew, each a mean over examples
and places: of d the relative variance is

    E[v v']/E[v]² (1 + 2r) - 1 + E[μ₄ - 3v²]/(B E[v]²)

on average over pairs of places, v = Var(f|m) at each, m and m' what examples have in common there, r the overlap of
differences. A log lies half its variance below, so that γ of a typical draw is off that of the mean-field map. Deep in
a network γ is small and varies by its own size, and lengths of whole examples drift apart: the median of D is that of
a sum of both (`Parted.median`).

Approximate: places are alike but for their lag; of what is beyond the mean-field overlap no pair of places has more
than another; lengths are lognormal, and vary independently of γ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from .batch import Batch
from .curve import skewed
from .decays import decayed
from .field import Field
from .hermite import Expansion, decay, over_rows, tables
from .overlap import of_differences
from .parting import CLOSEST, mapped, of_shares, unlike
from .spread import log_mean
from .values import Array, Moments

COMMON, OWN, ORDERS = 48, 9, 24  # nodes of what examples share of a unit, of what each has of its own; Hermite orders


@dataclass(frozen=True, slots=True)
class Parted:
    """What varies in the differences of examples over places, pairs and draws.

    `lengths`: [*lags], relative covariance of the lengths that an example has of its own at two places; `apart`:
    [*lags], of γ at two places over the places and pairs of a draw; `beyond`: [*lags], what the squared cosines of
    differences have beyond those of the mean-field map, as `Field.beyond`; `variance`: of log γ over draws, and `third`
    its third cumulant; `with_size`: covariance of log γ and log q; `layout`: [*positions], how much examples differ at
    a place, relative to the mean, as they are large there if None; `drifted`: [*lags] or one number, what of `lengths`
    is over draws, and not in the data.
    """

    lengths: Array
    apart: Array
    beyond: Array
    variance: float = 0.0
    with_size: float = 0.0
    layout: Array | None = None
    third: float = 0.0
    drifted: Array | float = 0.0

    @property
    def drifting(self) -> Array:
        """What of the lengths is over draws, by lag."""
        return np.broadcast_to(self.drifted, self.lengths.shape)

    @property
    def unlike(self) -> float:
        """E[√(l l')]/E[l] of two examples at a place."""
        return float((1 + max(self.lengths.flat[0], 0.0)) ** -0.25)

    def angle(self, gap: Array, batch: Batch) -> Array:
        """Return γ of 1 - c = D, [examples, examples]."""
        return batch.off_diagonal(np.clip(1 - (1 - gap) / self.unlike, 0.0, 2.0))

    def of_lengths(self, q: Array) -> Array:
        """Return how much of half the mean squared differences is that lengths differ at a place."""
        return np.asarray((q[:, None] + q) / 2 * (1 - self.unlike))

    def whole(self, d: Array, q: Array, batch: Batch) -> Array:
        """Return half the mean squared differences of examples, of those that they have at lengths that are alike."""
        return batch.off_diagonal(d + ((q[:, None] + q) / 2 - d) * (1 - self.unlike))

    def median(self, m: Moments, field: Field, batch: Batch) -> float:
        """Return the median over draws of D = γ (1 - u) + u, of a γ of typical size beside lengths that take u of it.

        A sum lies as far above its median as its parts do, by their variances (`parting.Parting.median`).
        """
        size, std = float(m.q.mean()), np.sqrt(m.q)
        whole, alike = batch.distinct_mean(m.d) / size, self.unlike * batch.distinct_mean(np.outer(std, std)) / size
        if field.gram is not None:
            alike = (1 - field.gram.of_lengths) * float((1 + self.drifting.flat[0]) ** -0.25)
        gap = 1 - (1 - whole) / alike if alike > 0 else 0.0
        if not (gap > 0 and self.variance > 0):
            return whole
        u, drifted = 1 - alike, float((field.weights * self.drifting).sum())
        (mean, middle, own), (other, below) = self._law(gap, batch), lengths_of_draws(4 * u, drifted, batch)
        own, other = own * (1 - u) ** 2, other * (1 - gap) ** 2 / 16
        share = own / (own + other) if own + other > 0 else 1.0
        gap, u = share * middle + (1 - share) * mean, u - (1 - share) * below / 4
        return gap * (1 - u) + u

    def _law(self, gap: float, batch: Batch) -> tuple[float, float, float]:
        """Return mean, median and variance over draws of a γ whose log is this on average; no γ is beyond 2.

        Of a log x its mean is κ₂/2 + κ₃/6 below log E[e^x], and its median κ₃/6κ₂ below it (Cornish and Fisher 1938),
        beside what it is above it as differences are no more than all (`parting.of_shares`).
        """
        raised = self.raised(gap)
        mean, middle = gap * math.exp(raised), of_shares(gap, self.variance, batch.size, self.third)
        return mean, middle, mean * mean * math.expm1(2 * raised)

    def raised(self, gap: float) -> float:
        """Return by how much log E[γ] is above the mean of log γ; no γ is beyond 2."""
        return min(max(self.variance / 2 + self.third / 6, 0.0), math.log(2 / min(max(gap, 1e-300), 2.0)))

    def through(self, windows: Callable[[Array], Array], layout: Array | None = None) -> Parted:
        """Return the parting of sums over windows, given what they leave of what varies by lag, and the places."""
        lengths, drifted, apart, beyond = (windows(x) for x in (self.lengths, self.drifting, self.apart, self.beyond))
        return replace(self, lengths=lengths, drifted=drifted, apart=apart, beyond=beyond, layout=layout)

    def turned(self, view: Callable[[Array], Array]) -> Parted:
        """Return the parting with its axes in another view."""
        return self.through(view, None if self.layout is None else view(self.layout))

    def gaps(self, share: Array, gap: float) -> Array:
        """Return γ of each place, [*positions], where it is `gap` on average and these are the second moments."""
        whole = 1 - (1 - gap) * self.unlike
        layout = share if self.layout is None else self.layout
        return np.clip(1 - (1 - whole * layout / np.maximum(share, 1e-300)) / self.unlike, 0.0, 2.0)

    def laid_out(self, share: Array, gaps: Array) -> Parted:
        """Return the parting with γ of each place."""
        layout = np.maximum(1 - (1 - gaps) * self.unlike, 0.0) * share
        return replace(self, layout=layout / max(float(layout.mean()), 1e-300))

    def beside(self, share: float, size: float) -> Parted:
        """Return the parting where a share of q is the signal's and the rest is the same for all examples.

        D is what it was times the share, which grows with q: `size` is the variance of log q over draws.
        """
        if share == 1.0:
            return self
        rest, (lengths, drifted) = 1 - share, (_power(x, share) for x in (self.lengths, self.drifted))
        variance = max(self.variance + 2 * rest * self.with_size + rest * rest * size, 0.0)
        with_size = share * (self.with_size + rest * size)
        return replace(self, lengths=lengths, drifted=drifted, variance=variance, with_size=with_size)


def lengths_of_draws(whole: float, over_draws: float, batch: Batch) -> tuple[float, float]:
    """Return the variance over draws of the variance of log lengths, and how far the median lies below the mean.

    Of B examples it is |δ + ε|²/(B - 1), with δ what the data have and ε what the draws add, normal of the variance
    `over_draws` in each of B - 1 directions: a noncentral χ².
    """
    v = min(max(over_draws, 0.0), whole)
    fixed, directions = whole - v, max(batch.size - 1, 1)
    if not v > 0:
        return 0.0, 0.0
    return 2 * v * (v + 2 * fixed) / directions, 2 * v * (v + 3 * fixed) / (v + 2 * fixed) / (3 * directions)


def of_data(field: Field, layout: Array, examples: int) -> Parted | None:
    """Return the parting of data, which differs at its places as `layout` says; None where nothing differs.

    What examples' lengths differ by as a whole is in their second moments.
    """
    gap = float(field.across.flat[0])
    if examples < 2 or not gap > 0:
        return None
    own = (field.by_lag - float((field.weights * field.by_lag).sum())) * examples / (examples - 1)
    nothing = np.zeros(field.sizes)
    parted = Parted(np.clip(own, -abs(own.flat[0]), max(own.flat[0], 0.0)), nothing, nothing, layout=layout)
    angle = max(1 - (1 - gap) / parted.unlike, gap / 2)
    return replace(parted, apart=field.varying / angle**2)


def at_places(x: Moments, gap: Array, share: float, size: float, batch: Batch) -> tuple[Field | None, Array]:
    """Return the field of sums over x, of which a share of q is x's and the rest is a bias, and their γ of 1 - c.

    `size` is the variance of log q over draws: a bias makes more of a typical draw than of the mean of all.
    """
    if x.field is None:
        return None, gap
    if len(x.q) < 2:
        return x.field.scaled(share), gap
    nothing = np.zeros(x.field.sizes)
    parted = (x.field.parted or Parted(nothing, nothing, nothing)).beside(share, size)
    typical = gap * _of_typical(share, size) if x.field.parted else gap
    return replace(x.field.scaled(share), parted=parted), parted.angle(typical, batch)


def _of_typical(share: float, size: float) -> float:
    """Return exp(E[log s'])/s of the share s' = s y/(s y + 1 - s) that a signal has of a draw, y lognormal, E[y] 1."""
    if not (0 < share < 1 and size > 0):
        return 1.0
    z, w = _nodes(OWN)
    rest = math.log(1 - share) + size / 2 - math.sqrt(size) * z
    return math.exp(-float(w @ np.logaddexp(math.log(share), rest)))


def _power(lengths: Array | float, exponent: float) -> Array:
    """Return the relative covariances of a power of lognormal lengths."""
    return np.asarray(np.maximum(1 + lengths, 0.0) ** (exponent * exponent) - 1)


def _longer(lengths: Array, fresh: Array) -> Array:
    """Return the relative covariances of lengths times independent ones."""
    return (1 + lengths) * (1 + fresh) - 1


def behind(
    field: Field,
    gaps: tuple[float, Array],
    f: Expansion,
    values: Array,
    total: float,
    s: float,
    units: float,
    batch: Batch,
) -> tuple[Parted, float]:
    """Return the parting behind a function of so many units, and by what its γ is beyond the map at the γ that went in.

    Args:
        field: of the units, beside their mean.
        gaps: γ of the units, its mean and that of each place.
        f: the function's expansion.
        values: the same on the nodes, [nodes].
        total: relative variance of a unit's mean square.
        s: the slope of log E[f²] in the log of the units' variance.
        units: how many there are.
        batch: the examples.
    """
    before = field.parted
    assert before is not None
    masses, (gap, places) = over_rows(f.plain**2), gaps
    of_pairs = float(before.apart.flat[0]) - float((field.share * (places / gap - 1) ** 2).mean())
    slope, bow, pairs = mapped(masses, gap, before.variance, math.log1p(max(of_pairs, 0.0)))
    bent = bow * before.variance / 2 + pairs
    share = min(float(masses @ decay(np.array([min(gap, 2.0)]))[0]) / max(float(over_rows(f.q)), 1e-300), 1.0)
    ratio = (1 - share) / max(share, 1e-300)
    fresh = _fresh(field, _of_squares(f), gap * math.exp(before.raised(gap)))
    back = ratio * _given_back(before, f, gap, s, float(fresh.flat[0]) / units)
    met = _Met.of(field, values, gap, batch)
    beyond = slope * slope * before.beyond
    own, joint = met.over_all(share, float(beyond.flat[0]), 1 / batch.size)
    shift = bent + back + log_mean(own / units) - log_mean(total / units)
    varied = max(own - 2 * joint + total, 0.0)
    pair = met.of_pair(share) + sum(field.covariances(_of_squares(f))) / 2
    apart = (1 + slope * slope * before.apart) * np.maximum(1 + (pair - varied) / units, 0.0) - 1
    overlap = met.overlap + float(beyond.flat[0])
    growth = float(met.weights.ravel() @ met.fourth.ravel()) * of_differences(min(overlap, 1.0), share, met.overlap)
    lengths, drifted = (_longer(_power(x, s), fresh / units) for x in (before.lengths, before.drifting))
    return Parted(
        lengths,
        np.clip(apart, -abs(apart.flat[0]), abs(apart.flat[0])),
        np.minimum(beyond + growth / units * met.alike**2, 1.0),
        slope * slope * before.variance + varied / units,
        s * slope * before.with_size + (joint - total) / units,
        third=slope**3 * before.third + skewed(bow, slope * before.variance),
        drifted=drifted,
    ), math.exp(shift)


def _given_back(before: Parted, f: Expansion, gap: float, s: float, fresh: float) -> float:
    """Return how much more two examples differ in angle as their lengths do behind a function, less what these take.

    Lengths are those of a place, of the mean that they have over examples; fresh ones, which vary by twice as much
    between two examples, take an eighth of it.
    """
    scattered = math.log1p(max(float(before.lengths.flat[0]), 0.0))
    return scattered * unlike(over_rows(f.plain), min(gap, 1.0), s, -0.5) - fresh / 4


def _of_squares(f: Expansion) -> Array:
    """Return the masses of the orders of f², but for its mean, relative to E[f²]²."""
    masses = over_rows(f.square**2).copy()
    masses[0] = 0.0
    return masses / max(float(over_rows(f.q**2)), 1e-300)


def _fresh(field: Field, squares: Array, gap: float) -> Array:
    """Return by lag by how much the covariance of f² of an example is beyond that of two, whose γ is this on average.

    `squares` are the masses of f², relative to E[f²]². At a lag it is as much of that at a place as it is of the
    mean-field map.
    """
    own, other = (decayed(1 - c, squares) for c in field.correlations)
    apart = np.maximum(other - own, 0.0)
    here = float(squares @ decay(np.array([min(gap, 2.0)]))[0])
    return np.asarray(apart / max(float(apart.flat[0]), 1e-300) * here)


@dataclass(frozen=True, slots=True)
class _Met:
    """What d and q of a unit at two places have in common, by lag, with m and m' what examples share there.

    `fourth`: E[v v']/E[v]²; `joint`: E[s v']/(E[s] E[v]), s = E[f²|m]; `kurtosis`: E[μ₄ - 3v²]/E[v]², `within`:
    2 E[μ μ₃]/(E[s] E[v]) at one place; `alike`: the correlation of what an example has of its own at two places;
    `weights`: the share of pairs of places; `least`: the overlap of orthogonal differences of examples.
    """

    fourth: Array
    joint: Array
    kurtosis: float
    within: float
    alike: Array
    weights: Array
    least: float

    @classmethod
    def of(cls, field: Field, values: Array, gap: float, batch: Batch) -> _Met:
        own, other = field.correlations
        here = float(other.flat[0])
        common = np.clip(other / here, -1.0, 1.0) if abs(here) > CLOSEST else np.zeros_like(other)
        left = 1 - here
        alike = np.clip((own - other) / left, -1.0, 1.0) if left > CLOSEST else np.ones_like(own)
        common.flat[0] = alike.flat[0] = 1.0
        (m, w_m), (e, w_e) = _nodes(COMMON), _nodes(OWN)
        gap = min(max(gap, CLOSEST), 1.0)
        y = np.interp(math.sqrt(1 - gap) * m[:, None] + math.sqrt(gap) * e, tables()[0], values)
        mean, s = y @ w_e, (y * y) @ w_e
        off = y - mean[:, None]
        v, third, fourth = (off**n @ w_e for n in (2, 3, 4))
        d, q = float(w_m @ v), float(w_m @ s)
        least, weights = 1 / max(batch.size - 1, 1), field.pairs / field.pairs.sum()
        if d <= 0 or q <= 0:
            return cls(np.ones_like(own), np.ones_like(own), 0.0, 0.0, alike, weights, least)
        kurtosis = float(w_m @ (fourth - 3 * v * v)) / d**2
        within = 2 * float(w_m @ (mean * third)) / (q * d)
        return cls(joint(v / d, v / d, common), joint(s / q, v / d, common), kurtosis, within, alike, weights, least)

    @property
    def overlap(self) -> float:
        """The overlap of differences over all places, of the mean-field map."""
        return self.least * float((self.weights * self.alike**2).sum())

    def over_all(self, share: float, beyond: float, one: float) -> tuple[float, float]:
        """Return the relative variance of a unit's d over all examples and places, and its covariance with q."""
        alike = 2 * self.fourth * (self.least * self.alike**2 + beyond)
        bent = self.kurtosis * self.alike**4 * one
        own = self.fourth - 1 + alike + bent
        joint = self.joint - 1 + share * (alike * (1 - one) + bent) + self.within * self.alike**3 * one
        return max(float((self.weights * own).sum()), 0.0), float((self.weights * joint).sum())

    def of_pair(self, share: float) -> Array:
        """Return, by lag, the relative covariance of d of a pair at two places, less twice that with its q."""
        alike, bent = 2 * self.fourth * self.alike**2, self.kurtosis * self.alike**4 / 2
        own = self.fourth - 1 + alike + bent
        joint = self.joint - 1 + share * (alike / 2 + bent) + self.within * self.alike**3 / 2
        return np.asarray(own - 2 * joint)


def joint(a: Array, b: Array, common: Array) -> Array:
    """Return E[a(m) b(m')] by the correlations of m and m', of functions on the nodes.

    Beyond the last order that is followed all goes with that order.
    """
    (_, w), basis = _nodes(COMMON), _basis()
    terms = (basis @ (w * a)) * (basis @ (w * b))
    found = np.polynomial.polynomial.polyval(common, terms)
    return np.asarray(found + (float(w @ (a * b)) - terms.sum()) * np.abs(common) ** ORDERS)


@cache
def _nodes(count: int) -> tuple[Array, Array]:
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return x, w / w.sum()


@cache
def _basis() -> Array:
    """Return the orthonormal Hermite polynomials on the nodes, [orders, nodes]."""
    x = _nodes(COMMON)[0]
    rows = [np.ones_like(x), x]
    for n in range(1, ORDERS - 1):
        rows.append((x * rows[n] - math.sqrt(n) * rows[n - 1]) / math.sqrt(n + 1))
    return np.array(rows)


def of_units(field: Field, gap: float, fourth: float, units: float, batch: Batch) -> tuple[Parted, float]:
    """Return the parting of Gaussian units themselves, as of a line, and by what γ is beyond that of their covariances.

    `fourth` is the fourth cumulant of a bias.
    """
    before = field.parted
    assert before is not None
    own, other = (2 * x for x in field.squares)
    total = float((field.pairs * field.averaged((own, other), batch.size)).sum()) + fourth
    gap = min(gap, 1.0)
    fresh = _fresh(field, _OF_A_LINE, gap * math.exp(before.raised(gap)))
    turned = (1 - gap) / max(gap, CLOSEST) * float(fresh.flat[0]) / units / 4
    overlap = _overlap(field, batch) + float(before.beyond.flat[0])
    shift = log_mean(2 * overlap / units) - log_mean(total / units) - turned
    lengths, drifted = (_longer(x, fresh / units) for x in (before.lengths, before.drifting))
    return replace(before, lengths=lengths, drifted=drifted), math.exp(shift)


_OF_A_LINE = np.zeros(len(tables()[3]))  # z² = 1 + √2 h₂(z)
_OF_A_LINE[2] = 2.0


def _overlap(field: Field, batch: Batch) -> float:
    """Return the overlap of differences over all places, of the mean-field map."""
    own, other = field.correlations
    left = 1 - float(other.flat[0])
    alike = (own - other) / left if left > CLOSEST else np.ones_like(own)
    return float((field.pairs * np.clip(alike, -1.0, 1.0) ** 2).sum() / field.pairs.sum()) / max(batch.size - 1, 1)
