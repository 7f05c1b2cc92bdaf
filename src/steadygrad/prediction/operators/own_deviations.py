"""What norms make of units whose variances differ: each is divided by its own.

A unit's variance over places is a sum of what all examples have in common, as zeros at the borders print it on them,
and of what each has of its own: quadratic forms c and a of the unit's weights, of few directions and of many. Behind
the norm examples differ by E[a/(a + c)], which is more than E[a]/E[a + c]: units that have little in common are divided
by least. Forms are taken as gamma variables, of as many degrees as they have directions, tr(K)²/tr(K²), independent.
Lags do not tell on which sides places are: what examples have in common has as many directions as there are sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv

from steadygrad.prediction.field import Field
from steadygrad.prediction.lags import autocorrelation
from steadygrad.prediction.values import Array

QUANTILES = 64
LEAST = 0.1  # as in norms.py: of what products of places that vary over draws leave
MOST = 1e4  # directions from which a form is what it is on average


@dataclass(frozen=True, slots=True)
class Divided:
    """By how much more is left of what examples differ by, and of what they have in common, than on average.

    `share` is 1/(E[s²] E[1/s²]) of a unit's variance s², None where examples have nothing in common.
    """

    apart: float = 1.0
    common: float = 1.0
    share: float | None = None

    def field(self, known: Field) -> Field:
        """Return the field of a normalized signal, of which places have one variance on average over units."""
        within, across = known.within, known.across
        other = (1 - across) * self.common
        own = other + (across - within) * self.apart
        within, across = np.clip(1 - own, 0.0, 2.0), np.clip(1 - other, 0.0, 2.0)
        within.flat[0] = 0.0
        return replace(known, within=within, across=across)

    def pair(self, known: tuple[float, float]) -> tuple[float, float]:
        """Return what the mean over all places has, of an example and of two."""
        own, other = known
        return other * self.common + (own - other) * self.apart, other * self.common


ALIKE = Divided()


def divided(field: Field, group: float, examples: int = 1) -> Divided:
    """Return what becomes of a normalized signal.

    Args:
        field: as it is where all are divided by the mean variance.
        group: how many units are divided by one.
        examples: how many are.
    """
    common = 1 - float(field.across.flat[0])
    if not 0 < common < 1 or field.count < 2:
        return ALIKE
    own, shared = (
        float((field.weights * kernel**2).sum()) / float(kernel.flat[0]) ** 2
        for kernel in (field.across - field.within, 1 - field.across)
    )
    own /= max(examples - 1, 1)
    shared = min(shared, group / (2 * len(field.sizes)))
    degrees = (round(group / max(x, 1e-12), 2) for x in (own, shared))
    left, inverse = _of_own(1 - common, *degrees)
    share = max(1 - 2 * field.varied / group, LEAST) / inverse
    return Divided(left / (1 - common), (1 - left) / common, share)


def lopsidedness(field: Field, variance: float, examples: int) -> float:
    """Return the squared mean of w z over all places, of what differs from their mean, w their lengths, over q.

    Long places lie along the mean m and have more than the mean of it, (E[m²]/variance) Cov(w, m)²; of all that is
    not along it places of like lengths are left where they are alike.
    """
    left, means = field.centred(variance), field.along_the_mean
    lengths = np.sqrt(left.share)
    by_place = float((lengths * means).mean() - lengths.mean() * means.mean())
    along = max(1 - variance, 0.0) / max(variance, 1e-300) * (by_place + float(field.by_lag.flat[0]) / 4) ** 2
    alike = autocorrelation((lengths - lengths.mean())[None, ..., None], field.sizes)[0]
    pairs = (alike + field.by_lag / 4) * (1 - left.within), alike * (1 - left.across)
    return along + max(float((field.weights * field.averaged(pairs, examples)).sum()), 0.0)


@lru_cache(maxsize=256)
def _of_own(share: float, own: float, common: float) -> tuple[float, float]:
    """Return E[a/(a + c)] and E[1/(a + c)] of gamma variables of these degrees, of which a is a share on average."""
    a, c = share * _quantiles(own)[:, None], (1 - share) * _quantiles(common)
    whole = np.maximum(a + c, 1e-300)
    return float((a / whole).mean()), float((1 / whole).mean())


def _quantiles(degrees: float) -> Array:
    """Return evenly spaced quantiles of a gamma variable of mean one."""
    if degrees > MOST:
        return np.ones(1)
    found = gammaincinv(max(degrees, 1.0) / 2, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    return np.asarray(found / found.mean())
