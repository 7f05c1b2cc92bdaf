"""What the mean over all places has of a signal, of an example and of two, where more is known than lags say.

Lags hold what two places have in common to the precision of the data and of places that are taken as alike. A mean over
all places adds up nearly nothing of each, and where a norm has taken the mean of an image, or of a batch, what is left
of it is less than that. So it is followed on its own (`Field.in_all`), as two products M relative to q:

- behind a norm of G units and all places, which share its mean, 1 - 1/G of what they had; behind one over the batch
  of B examples D (1 - 1/B) and -D/B, where D is what examples' means differ by;
- behind a function g of a normalized y, what lags say of the rest of its regression on y and y², whose sums the norm
  fixes, and what the norm leaves of these;
- of a gradient behind a norm, nothing of what the norm took together, and behind a function h what `balance` says;
- behind windows, by taps: a tap of a window meets all places but those at a border, and as all add up to the mean, what
  it adds is that less what lies there: of a signal of mean zero, the sum over the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

import numpy as np

from .decays import decayed
from .field import Field
from .hermite import coefficients, tables
from .in_all import Pair
from .taps import Taps
from .values import Array

if TYPE_CHECKING:
    from .source import Source


@dataclass(frozen=True, slots=True)
class Fixed:
    """What a norm fixes: the sums of y and of y² over an image, or, of so many `examples`, over a batch.

    `values` are those of y on the nodes of its source, None where it is the source; `in_all`: what the mean over all
    places has of y; `share`: of what places have in common in y² which the norm takes, 1/G of G units.
    """

    in_all: Pair
    share: float = 1.0
    examples: int = 1
    values: Array | None = None


def behind_norm(field: Field, variance: float, square: float, share: float, examples: int = 1) -> Fixed:
    """Return what a norm fixes, and what it leaves of the mean over all places.

    Args:
        field: in front of the norm.
        variance: of what it takes together, relative to the second moment.
        square: of the mean that all units have, relative to the second moment.
        share: of a unit's mean over places that goes: 1/G of G units.
        examples: that are taken together.
    """
    own, other = ((1 - gap - square) / max(variance, 1e-300) for gap in field.mean())
    return Fixed(_without((own, other), share, examples), share, examples)


def _without(known: Pair, share: float, examples: int) -> Pair:
    """Return what is left of products of means where the mean over so many examples is taken."""
    own, other = known
    if examples == 1:
        return own * (1 - share), other * (1 - share)
    mean = (own + (examples - 1) * other) / examples
    return own - share * mean, other - share * mean


def sent_back(field: Field, whole: float, examples: int) -> Pair:
    """Return what it has of a gradient, given its second moment over all examples that a norm took together.

    field: as lags have it, which say what examples' means differ by; `examples`: 1 where each is taken alone.
    """
    if examples == 1:
        return whole, 0.0
    within, across = field.mean_by_lag()
    apart = max(across - within, 0.0)
    return whole + apart * (1 - 1 / examples), whole - apart / examples


def behind_function(source: Source, z: Field, found: Field, values: Array, square: float) -> Pair | None:
    """Return what it has of a function g of a source, relative to its second moment; None where lags say as much.

    It is what lags say, with that of its part along y, and along y², as it is and not as lags say it.

    Args:
        source: with positions.
        z: their field beside the source's mean.
        found: the field of g, as lags have it.
        values: of g, on the nodes.
        square: its second moment.
    """
    fixed, (nodes, w) = source.fixed, tables()[:2]
    known = fixed.in_all if fixed is not None else z.in_all
    if known is None:
        return None
    g, y = values.mean(0), nodes if fixed is None or fixed.values is None else fixed.values
    y = y - float(y @ w)
    line, left = _regressed(g - float(g @ w), y)
    by_lag = _over_lags(z, found, line * y)
    size = line**2 * float(y**2 @ w)
    own, other = (size * m - lags for m, lags in zip(known, by_lag, strict=True))
    if fixed is not None:
        bent = _regressed(y**2 - float(y**2 @ w), y)[1]
        pair = _over_lags(z, found, _regressed(left, bent)[0] * bent)
        gone = _without(pair, fixed.share, fixed.examples)
        own, other = own + gone[0] - pair[0], other + gone[1] - pair[1]
    within, across = found.mean_by_lag()
    return 1 - within + own / max(square, 1e-300), 1 - across + other / max(square, 1e-300)


def _regressed(values: Array, on: Array) -> tuple[float, Array]:
    """Return the slope of a function on another one, both of mean zero, and what is left of it."""
    w = tables()[1]
    size = float(on**2 @ w)
    slope = float(values * on @ w) / size if size > 0 else 0.0
    return slope, values - slope * on


def _over_lags(z: Field, like: Field, values: Array) -> Pair:
    """Return the mean over all pairs of places, as long as those of a field, of a function of mean zero: Σ a_n² c^n."""
    masses = coefficients(values[None], values[None] ** 2 @ tables()[1])[0] ** 2
    masses[0] = 0.0
    whole, weights = float(masses.sum()), z.weights * like.deviations
    own, other = (float((weights * (whole - decayed(1 - c, masses))).sum()) for c in z.correlations)
    return own, other


def behind_windows(field: Field, axes: list[Taps]) -> Pair | None:
    """Return what it has of sums over windows with a weight for each tap, relative to the mean of their squares."""
    sums = sums_by_tap(field, axes)
    if sums is None:
        return None
    met = float(np.prod([_met(axis).met for axis in axes]))
    factor = float(np.prod([_met(axis).taps / axis.out for axis in axes])) / met
    return sums[0] * factor, sums[1] * factor


def sums_by_tap(field: Field, axes: list[Taps]) -> Pair | None:
    """Return the second moments of sums over the places that a tap meets, the mean over taps; None if lags say as much.

    A tap meets places R: Var(Σ_R z) = |R|² M + Var(Σ_R z̃), z̃ of mean zero over all places, so that the last is that
    over the places that it does not meet, where these are fewer. Places there are as long as `share` says on average.
    """
    if field.in_all is None or any(axis.size < 1 for axis in axes):
        return None
    each = [_met(axis) for axis in axes]
    taps, met, squared = (float(np.prod([getattr(a, n) for a in each])) for n in ("taps", "met", "squared"))
    if not met > 0:
        return None
    pairs = reduce(np.multiply.outer, [a.among for a in each])
    times = reduce(np.multiply.outer, [a.times for a in each])
    if met > taps * field.count / 2:
        times = taps - times
        whole, crossed = (reduce(np.multiply.outer, [getattr(a, n) for a in each]) for n in ("all", "crossed"))
        pairs = whole - 2 * crossed + pairs
    level = float((times * field.share).sum() / max(times.sum(), 1.0))
    own, other = (
        squared * m + level * float((pairs * (1 - gap - (field.weights * (1 - gap)).sum())).sum())
        for m, gap in zip(field.in_all, (field.within, field.across), strict=True)
    )
    return own / taps, other / taps


@dataclass(frozen=True, slots=True)
class _Met:
    """How many taps a window has along an axis; how many places they meet, over all windows, and the squares of these;
    how often each place is met; and by lag, over the taps, of how many ordered pairs of places both are met, one is, or
    any are.
    """

    taps: int
    met: float
    squared: float
    times: Array
    among: Array
    crossed: Array
    all: Array


@lru_cache(maxsize=256)
def _met(axis: Taps) -> _Met:
    place, inside = axis.places()
    held = np.zeros((axis.kernel, axis.size))
    for tap in range(axis.kernel):
        held[tap, place[inside[:, tap], tap]] = 1.0
    ones, counts = np.ones_like(held), held.sum(1)
    among, crossed, whole = (_pairs(a, b) for a, b in ((held, held), (held, ones), (ones, ones)))
    return _Met(axis.kernel, float(counts.sum()), float((counts**2).sum()), held.sum(0), among, crossed, whole)


def _pairs(a: Array, b: Array) -> Array:
    """Return by lag the products of entries of rows of both, summed over rows and over both signs of the lag."""
    n = a.shape[1]
    f, g = (np.fft.rfft(x, n=2 * n, axis=1) for x in (a, b))
    sums = np.fft.irfft((f * g.conj()).sum(0), n=2 * n)
    found = sums[:n] + np.append([0.0], sums[:-n:-1])
    return np.asarray(np.rint(found))
