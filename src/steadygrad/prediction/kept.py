"""What a function keeps of what the gradients of two examples have in common, in the draws where that is most.

Of the squared cosine r of two gradients a function h keeps A(γ) = (E[h h']/E[h²])², γ = 1 - c of its arguments. γ is
one draw's: where it is small in a layer it was small in the one before, so that draws that lost little of r lose little
again, and what is left after many layers is in draws whose γ is small in all of them. With log γ normal, of the mean
and the mean square of γ that `cosines` knows, and E[r | γ] going as γ^t, A is averaged over the normal that is moved by
t Var(log γ). Behind h the tilt t has d log E[A]/d log γ more (by Stein's identity), and less by what of r is fresh,
which no draw has more of than another; in log γ of the layer in front it is d log γ'/d log γ times as large.

Approximate: lognormal, as sums of many layers' noises are, and log E[r | γ] is taken along its line.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from .cosines import Cosine
from .hermite import decay
from .values import Array

NODES = 15
NARROWEST = 1e-3  # of the deviation of log γ: slopes over it keep twelve digits, and a mean is as good without it
WIDEST = 2.0  # of 1 - c
LEAST = 1e-300
CLOSEST = 1e-8  # 1 - c, beside whose square a double holds no variance; next to all is kept there


def kept(cosine: Cosine, masses: Array, tilt: float) -> tuple[float, float]:
    """Return E[A] in draws with this tilt, and the tilt behind.

    Args:
        cosine: of the arguments.
        masses: squared Hermite coefficients of h.
        tilt: of what is kept, in log γ of the arguments.

    >>> line = np.eye(1, 128, 1)[0]  # h(z) = z, where c = 1/2 in all draws
    >>> [round(x, 4) for x in kept(Cosine(0.5, 0.75), line, 0.0)]
    [0.25, -2.0]
    """
    level, deviation, x, weights = _normal(cosine)
    a = (1 - _lost(level + tilt * deviation**2 + deviation * x, masses)) ** 2
    mean = float(weights @ a)
    return mean, tilt + float(weights @ (x * a)) / (max(mean, LEAST) * max(deviation, LEAST))


def in_front(cosine: Cosine, masses: Array, tilt: float) -> float:
    """Return the tilt in log γ of a function's arguments, where `tilt` is that in log γ of its outcomes."""
    if tilt == 0.0:
        return tilt
    level, deviation, x, weights = _normal(cosine)
    logs = np.log(np.maximum(_lost(level + deviation * x, masses), LEAST))
    return tilt * float(weights @ (x * logs)) / deviation


def _normal(cosine: Cosine) -> tuple[float, float, Array, Array]:
    """Return mean and deviation of log γ, and nodes of a standard normal with their weights."""
    x, weights = _nodes()
    gap = max(cosine.gap, LEAST)
    square = max(2 * gap - cosine.spare, gap * gap)
    variance = math.log(square / gap**2) if gap > CLOSEST else 0.0
    return math.log(gap) - variance / 2, max(math.sqrt(variance), NARROWEST), x, weights


@cache
def _nodes() -> tuple[Array, Array]:
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    return x, w / w.sum()


def _lost(logs: Array, masses: Array) -> Array:
    """Return 1 - E[h h']/E[h²] for these logs of 1 - c."""
    return np.asarray(decay(np.minimum(np.exp(logs), WIDEST)) @ masses / max(float(masses.sum()), LEAST))
