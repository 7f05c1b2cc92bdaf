"""How the log of a mean square passes a function whose size is no power of that of its argument.

With L the log of a batch's second moment, against a reference, and V its variance over draws, a function f of
Gaussian units makes of it G(L) = log E[f(e^(L/2) z)²]. Over a normal L, by the three nodes of Gauss and Hermite,

    E[G] = (G₋ + 4 G₀ + G₊)/6,  slope = (G₊ - G₋)/2h,  bow = (G₊ - 2 G₀ + G₋)/h²,  h² = 3V,

the line and the parabola that are nearest to G where L is (statistical linearisation), not at one point. Each single
example goes through G on its own: where they lie about the batch's L with a variance U of their own, the log of their
mean gains ½ (bow + slope² - slope) U; a power 1 gains nothing. `Batch.concentration` says what is left of U in a mean,
and `Batch.lifted` what lines make of it however large it is: a single example lies that far below L.
And the log of their mean goes with L by the slope where its weight lies: examples weigh as much as they are large
behind the function, which is (slope - ½) U above L while U is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .batch import Batch
from .hermite import SMALLEST, over_rows, tables
from .spread import Noises, Spread
from .stretched import onwards
from .values import Array

NARROWEST = 0.05  # half the distance of the nodes where nothing varies: a difference over less loses digits
FLAT = 4 * 709 * 2.0**-52 / NARROWEST**2  # of a bow: what rounding leaves, of logs of any double, over the least step
LEAST = 2 * math.log(SMALLEST)
WIDEST = 0.7  # log variance up to which the nodes' own weights, which end at 12 deviations, hold the Gaussian to 1e-15


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean of G(L) beside G at the reference, single examples' part included, the slope, and the bow.

    `bent` is the bow of G(L) in the normal variable that L is a parabola of, by its own third cumulant: each layer of a
    deep network bends it further. `level` is the mean of a single example's log beside G at the reference, behind one
    whose L is that of the form.
    """

    mean: float
    slope: float
    bow: float
    bent: float
    level: float = 0.0

    def of(self, before: Spread) -> Spread:
        """Return the form behind the function, without the third cumulant of the parabola."""
        return before.centred.scaled(self.slope).shifted(self.mean)


def passed(
    values: Array, reference: float, before: Spread, noises: Noises, batch: Batch, weighed: float | None = None
) -> Curve:
    """Return what a function, given by its values on the nodes, makes of a form; `reference` is its mean square.

    `weighed` is the concentration of the mean that the function goes into, where it is not that of the form itself.
    """
    variance, apart = noises.covariance(before, before)
    about = apart * (1 - batch.concentration(apart))
    if reference <= 0:
        return Curve(0.0, 0.0, 0.0, 0.0)
    h = max(math.sqrt(3 * (variance + about)), NARROWEST)
    square = over_rows(values * values)
    at = np.array([before.mean - h, before.mean, before.mean + h])
    low, middle, high = np.log(np.maximum(_scaled(square, at), 1e-300)) - math.log(reference)
    slope, bow = float(high - low) / (2 * h), float(high + low - 2 * middle) / (h * h)
    level, whole = float(middle) + bow * (variance + about) / 2, bow + slope * bent(before.third, variance)
    raised = batch.lifted(slope * slope * apart) if weighed is None else slope * slope * apart * (1 - weighed) / 2
    mean = level + raised - slope * batch.lifted(apart)
    if weighed is None:
        tilt = bow * (slope * apart * (1 - batch.concentration(slope * slope * apart)) - batch.lifted(apart))
        slope, level = slope + tilt, level + tilt * about / 2
    return Curve(mean, slope, bow, whole, level)


def bent(third: float, variance: float) -> float:
    """Return the bow of x + ½ bow (x² - V), x normal of this variance, that has this third cumulant, 3 bow V²."""
    return third / (3 * variance * variance) if variance > 0 else 0.0


def skewed(bow: float, along: float) -> float:
    """Return the third cumulant that ½ bow (x² - V) adds to a T with this covariance with x."""
    return 3 * bow * along * along


def _scaled(square: Array, logs: Array) -> Array:
    """Return the mean of a square under Gaussians of these log variances: by weights, or where they end by its line.

    Of Gaussians that are narrower than the nodes resolve it is the power of the variance that it is at the narrowest.
    """
    means = _weighted(square, np.maximum(logs, LEAST))
    wide = logs > WIDEST
    if wide.any():
        means[wide] = _stretched(np.sqrt(square), np.exp(logs[wide, None] / 2))
    narrow = logs < LEAST
    if narrow.any():
        least, next_ = np.log(np.maximum(_weighted(square, np.array([LEAST, LEAST + NARROWEST])), 1e-300))
        means[narrow] *= np.exp((next_ - least) / NARROWEST * (logs[narrow] - LEAST))
    return means


def _weighted(square: Array, logs: Array) -> Array:
    z2, log_w = _logs()
    return np.asarray(np.exp(log_w - logs[:, None] / 2 - np.expm1(-logs)[:, None] * z2) @ square)


def _stretched(size: Array, scale: Array) -> Array:
    """Return the mean squares of a function that goes on straight beyond the nodes, its argument stretched."""
    z, w, _, _ = tables()
    return np.asarray(onwards(z * scale, z, size) ** 2 @ w)


@lru_cache(maxsize=1)
def _logs() -> tuple[Array, Array]:
    z, w, _, _ = tables()
    return z * z / 2, np.log(w)
