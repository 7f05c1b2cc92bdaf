"""How far examples lie apart at finite width: γ = d/q of a draw, beside the mean-field map of 1 - c.

The differences of B examples are a Gram matrix of their own, of overlap r (1/(B - 1) where all are orthogonal). Given
what units have in common, m = √c ξ, let s(m) = E[f²|m] and v(m) = Var(f|m). Over N units d has the relative variance

    (E[v²]/E[v]² (1 + 2r) - 1 + E[μ₄ - 3v²]/(B E[v]²))/N

and the covariance (E[s v]/(E[s] E[v]) - 1)/N with q. A log lies half its variance below: γ is what it is for a typical
draw, and the overlap rises by E[v²]/E[v]²/N times what `overlap.of_differences` says; what of it is beyond orthogonal
differences goes with the square of the slope of log γ' in log γ, as all products that differ from their mean do. The
map of γ is no power, so it is averaged over log γ and, within a draw, over the γ of its pairs. Part of a difference is
one of lengths alone, (1 - γ) v/4 where their logs vary by v, and is not in γ: what a layer adds to v it takes from γ,
and what a function that is no power makes of examples of different lengths it gives back.
Mean and mean square of the cosines, over draws,
have an exact law of their own (`cosines`): what single examples vary by alone follows from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from . import cosines
from .batch import Batch
from .cosines import ALIKE, Cosine
from .hermite import TERMS, Expansion, decay, over_rows, tables
from .overlap import of_differences
from .source import Source
from .spread import Noises, Spread, log_mean
from .values import Array, Moments

COMMON, OWN = 48, 9  # nodes for what examples share of a unit, and for what each has of its own
NARROWEST = 0.05
CLOSEST = 1e-8  # 1 - c below which differences are taken as infinitesimal: a double holds no smaller ones beside 1


@dataclass(frozen=True, slots=True)
class Parting:
    """What varies over draws in the differences of examples.

    `overlap`: of the differences' Gram matrix; `variance`: of log γ; `with_size`: covariance of log γ and log q;
    `apart`: variance of log γ over the pairs of one draw; `lengths`: of what examples' lengths differ by in a draw,
    how much lies in one direction, the overlap at which it arose.
    """

    overlap: float
    variance: float = 0.0
    with_size: float = 0.0
    apart: float = 0.0
    lengths: float = 0.0
    cosine: Cosine = ALIKE

    def beside(self, share: float, size: Spread, noises: Noises) -> Parting:
        """Return the parting where a share of q is the signal's and the rest is the same for all examples."""
        if share == 1.0:
            return self
        v, rest = noises.covariance(size, size)[0], 1 - share
        variance = self.variance + 2 * rest * self.with_size + rest * rest * v
        covariance = share * (self.with_size + rest * v)
        cosine = self.cosine.beside(share)
        return replace(self, variance=max(variance, 0.0), with_size=covariance, cosine=cosine)

    def lengthened(self, apart: float, s: float, source: Source, noises: Noises) -> Parting:
        """Return the parting where lengths differ by this much; what came through a function of slope s did before."""
        kept = s * s * noises.covariance(source.before, source.before)[1]
        if not apart > 0:
            return self
        share = min(kept / apart, 1.0)
        before = source.parting.lengths if source.parting else 0.0
        return replace(self, lengths=share * before + (1 - share) * self.overlap)

    def median(self, gap: float, apart: float, batch: Batch) -> float:
        """Return the median over draws of 1 - c, of a γ of this typical value and log lengths of variance `apart`.

        It is γ and, of 1 - γ, what lengths that differ leave out, u. A sum lies as far above its median as its parts,
        by their variances: to first order the third cumulant over six times the variance (Cornish and Fisher 1938).
        Lengths of a draw vary as a gamma variable does, of relative variance 2r, r the overlap of their differences.
        """
        u, v = batch.uneven(apart), self._median_of_lengths(apart)
        below = u - batch.uneven(v)
        slope = below / (apart - v) if apart > v else 0.0
        raised = min(self.variance / 2, math.log(2 / min(gap, 2.0))) if gap > 0 else 0.0  # of no γ beyond 2
        mean, middle = gap * math.exp(raised), of_shares(gap, self.variance, batch.size)
        own = mean * math.exp(raised) * math.sqrt(-math.expm1(-2 * raised)) * (1 - u)
        other = math.sqrt(2 * self.lengths) * slope * apart * abs(1 - middle)
        both = math.hypot(own, other)
        share = (own / both) ** 2 if both > 0 else 1.0
        return (share * middle + (1 - share) * mean) * (1 - u) + u - (1 - share) * below * (1 - middle)

    def _median_of_lengths(self, variance: float) -> float:
        """Return the median over draws of the variance of log lengths, a gamma's (Wilson and Hilferty 1931)."""
        return variance * (1 - 2 * self.lengths / 9) ** 3


def of_shares(gap: float, variance: float, size: int, third: float = 0.0) -> float:
    """Return the median of γ where the exponential of its mean log is this; `third` is the log's own third cumulant.

    Of B examples a share w = γ (1 - 1/B) are differences, and the rest is the batch's mean, a sum of squares like a
    gamma: 1 - w is about normal in its cube root (Wilson and Hilferty 1931), and log w, of variance V, has its
    median V w/3(1 - w) above its mean. It is no more than 1.
    """
    one = 1 - 1 / size
    w = min(gap * one, one)
    if not w > 0:
        return gap
    above = w / (3 * (1 - w)) * variance - (third / (6 * variance) if variance > 0 else 0.0)
    return gap * math.exp(min(above, max(-math.log(gap * one), 0.0)))


def begun(x: Moments, batch: Batch) -> Parting | None:
    """Return the parting of a signal whose own is not known: of its mean differences; None where nothing differs.

    Centred products are -½ (d twice centred): those of orthogonal differences are -1/(r - 1) of their squares.
    """
    r = len(x.d)
    if r < 2 or x.field is not None:
        return None
    rows = x.d.mean(0)
    products = rows[:, None] + rows - x.d - rows.mean()
    size = float(np.trace(products)) / r
    if size <= 0:
        return None
    off = batch.off_diagonal(products / size + 1 / (r - 1))
    own = float((np.diag(products) ** 2).mean()) / size**2
    one = 1 / max(batch.size - 1, 1)
    overlap = min(one * own + (1 - one) * batch.distinct_mean(off * off), 1.0)
    varied = batch.distinct_mean(batch.bounded(x.excess, x.product, x.q))
    return Parting(overlap, cosine=cosines.begun(x.product, x.q, varied))


def parted(
    source: Source, f: Expansion, values: Array, total: float, s: float, lengths: float, batch: Batch
) -> tuple[Parting, float]:
    """Return the parting behind a function, and by what its γ is beyond the map at the γ that went in."""
    before, units = source.parting, source.units
    assert before is not None
    gap = batch.distinct_mean(source.gap)
    slope, bow, pairs = mapped(over_rows(f.plain**2), gap, before.variance, before.apart)
    bent = bow * before.variance / 2 + pairs
    scatter = _scattered(values[len(values) // 2], gap)
    fourth = scatter.fourth
    one, least = 1 / batch.size, 1 / max(batch.size - 1, 1)
    r = least + slope * slope * max(before.overlap - least, 0.0)
    beyond = (r - least) * scatter.bent
    share = float(over_rows(f.plain**2) @ decay(np.array([min(gap, 1.0)]))[0]) / float(over_rows(f.q))
    ratio = (1 - share) / max(share, 1e-300)
    squares = over_rows(f.square) ** 2 / float(over_rows(f.q)) ** 2
    alone = float(decay(np.array([min(gap, 1.0)]))[0] @ squares)
    turned = ratio * alone / units / 4  # what of a difference comes to lie along the signal
    back = ratio * lengths * before.cosine.typical(gap) * unlike(over_rows(f.plain), gap, s)
    own, joint = scatter.varied(share, 2 * least * fourth + beyond, one)
    joint += leant(source, squares, share, beyond, batch)
    shift = bent + back - turned + log_mean(own / units) - log_mean(total / units)
    varied = max(own - 2 * joint + total, 0.0)
    of_pair, joint_of_pair = scatter.varied(share, 2 * fourth, 0.5)
    pair = of_pair - 2 * joint_of_pair + float(squares[1:].sum()) - alone / 2
    return Parting(
        min(r + fourth * of_differences(r, share, least) / units, 1.0),
        slope * slope * before.variance + varied / units,
        s * slope * before.with_size + (joint - total) / units,
        slope * slope * before.apart + max(pair - varied, 0.0) / units,
        cosine=before.cosine.through(f, values, units),
    ), math.exp(shift)


def unlike(a: Array, gap: float, s: float, mean: float = 0.0) -> float:
    """Return how much less two examples have in common behind a function, times v, where log lengths vary by v.

    With coefficients a_n(t) of f(e^(t/2) z), E[f f'] is Σ E[a_n]² c^n and E[f²] is Σ E[a_n²]; of that a part, s²v/4,
    are the lengths behind f, s the slope of log E[f²]. By Stein's identity 2 da_n/dt = n a_n + √((n+1)(n+2)) a_(n+2).
    Orders beyond go with the whole. Of a power it is 0. `mean` is E[t]/v: -½ where the mean of e^t is 1.
    """
    first = _scaling(a, s)
    second = _scaling(first, s)
    common = 1 - decay(np.array([min(gap, 1.0)]))[0]
    square = float(a @ a)
    met = float(common @ (a * a))
    if met <= 0 or square <= 0:
        return 0.0
    scattered = float((first @ first + a @ second) / square - common @ (a * second) / met) - s * s / 4
    return scattered + 2 * mean * float((a @ first) / square - common @ (a * first) / met)


def _scaling(a: Array, s: float) -> Array:
    """Return the derivatives of coefficients in the log of the argument's variance."""
    n = tables()[3][:TERMS]
    above = np.zeros(TERMS)
    above[:-2] = a[2:TERMS]
    found = a * (s / 2)
    found[: TERMS - 2] = (n * a[:TERMS] + np.sqrt((n + 1) * (n + 2)) * above)[: TERMS - 2] / 2
    return found


def sampled(source: Source, batch: Batch) -> Parting:
    """Return the parting of the units themselves: that of their covariances, and what a finite sample of them adds."""
    p, n = source.parting, source.units
    assert p is not None
    r, gap = p.overlap, min(batch.distinct_mean(source.gap), 1.0)
    squares = np.zeros(len(tables()[3]))
    squares[2] = 2.0
    least = 1 / max(batch.size - 1, 1)
    joint = 2 * gap * r * (1 - 1 / batch.size) + leant(source, squares, gap, 2 * (r - least), batch)
    own = 2 * (1 - p.cosine.spare * (1 - 1 / batch.size)) + source.fourth
    varied = max(2 * r - 2 * joint + own, 0.0)
    variance = p.variance + varied / n
    overlap = min(r + of_differences(r, gap, least) / n, 1.0)
    covariance = p.with_size + (joint - own) / n
    apart, cosine = p.apart + max((2 - gap) ** 2 - varied, 0.0) / n, p.cosine.of_units(n)
    return Parting(overlap, variance, covariance, apart, p.lengths, cosine)


def leant(source: Source, squares: Array, share: float, own: float, batch: Batch) -> float:
    """Return what the covariance of d and q gains where the batch's mean lies along its differences.

    Of a batch a share w are differences and 1 - w is the mean. With relative variances t of all, o of the differences
    and m of the mean, their covariance is w o + (t - w² o - (1 - w)² m)/2w, as t is that of the sum of both. Of
    orthogonal differences the other terms know; what overlaps beyond them adds to t and o, and m stays.
    """
    w = share * (1 - 1 / batch.size)
    if not w > 0 or not np.any(source.before_excess):
        return 0.0
    total = (1 - 1 / batch.size) * float((source.decay - source.decay_of_squares).mean(0) @ squares)
    return max(total - w * w * own, 0.0) / (2 * w)


def mapped(masses: Array, gap: float, variance: float, apart: float) -> tuple[float, float, float]:
    """Return the slope and the bow of log γ' in log γ, and by what the pairs of a draw raise its mean.

    Over the pairs of a draw γ takes the values γ (1 ± σ), which leaves its mean; no more than 2, where c is -1.
    """
    h = max(math.sqrt(3 * variance), NARROWEST)
    sigma = min(math.sqrt(math.expm1(apart)), max(2 / gap - 1, 0.0), 1.0)
    scales = np.array([math.exp(-h), 1.0, math.exp(h), 1 - sigma, 1 + sigma])
    found = np.maximum(decay(np.minimum(gap * scales, 2.0)) @ masses, 1e-300)
    low, middle, high = np.log(found[:3])
    pairs = math.log((found[3] + found[4]) / 2) - middle
    bow = float(low - 2 * middle + high) / (h * h)
    return float(high - low) / (2 * h), bow, float(pairs)


@dataclass(frozen=True, slots=True)
class _Scatter:
    """E[v²]/E[v]², the covariance of s and v, E[μ₄ - 3v²]/E[v]², 2 E[μ μ₃]/(E[s] E[v]), E[b²]/E[v]².

    b is the second Hermite coefficient of (f - μ)² in what an example has of its own: √2 v of a line.
    """

    fourth: float
    joint: float
    kurtosis: float
    within: float
    bent: float

    def varied(self, share: float, alike: float, one: float) -> tuple[float, float]:
        """Return the relative variance of a unit's d, and its covariance with q, over 1/one examples."""
        own = max(self.fourth - 1 + alike + self.kurtosis * one, 0.0)
        joint = self.joint + share * (alike * (1 - one) + self.kurtosis * one) + self.within * one
        return own, joint


def _scattered(values: Array, gap: float) -> _Scatter:
    """Return what d and q of a unit vary by, by the values of a function on nodes."""
    (m, w_m), (e, w_e) = _nodes(COMMON), _nodes(OWN)
    gap = min(max(gap, CLOSEST), 1.0)
    y = np.interp(math.sqrt(1 - gap) * m[:, None] + math.sqrt(gap) * e, tables()[0], values)
    mean, s = y @ w_e, (y * y) @ w_e
    off = y - mean[:, None]
    square_off = off * off
    v, third, fourth = square_off @ w_e, (square_off * off) @ w_e, (square_off * square_off) @ w_e
    d, q = float(w_m @ v), float(w_m @ s)
    if d <= 0:
        return _Scatter(1.0, 0.0, 0.0, 0.0, 2.0)
    square = float(w_m @ v**2) / d**2
    within = 2 * float(w_m @ (mean * third)) / (q * d)
    b = square_off @ (w_e * (e * e - 1) / math.sqrt(2))
    joint, kurtosis = float(w_m @ (s * v)) / (q * d) - 1, float(w_m @ fourth) / d**2 - 3 * square
    return _Scatter(square, joint, kurtosis, within, float(w_m @ b**2) / d**2)


@cache
def _nodes(count: int) -> tuple[Array, Array]:
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return x, w / w.sum()
