"""Functions of a coordinate on a sphere, as what a norm takes together lies on: of few dimensions it is no Gaussian."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .hermite import tables
from .values import Array

ANGLES = 2000  # of a coordinate on a sphere, a fifth of a deviation apart at the most and a hundredth in the middle


@lru_cache(maxsize=64)
def coordinate(k: float) -> tuple[Array, Array]:
    """Return values √k cos θ, with weights sin(θ)^(k - 2), of a coordinate on a sphere; in one dimension ±1."""
    if k < 1.5:
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    angles = (np.arange(ANGLES) + 0.5) * (math.pi / ANGLES)
    weights = np.sin(angles) ** (k - 2)
    weights /= weights.sum()
    cosines = np.cos(angles)
    return cosines / math.sqrt(float(weights @ cosines**2)), weights


def of_normed(normed: Array, square: Array, sphere: tuple[Array, Array]) -> float:
    """Return what a norm that fixes the second moment of h(z), and not of z, makes up for, of squares f².

    On a sphere E[h²] would be another than it is, by a factor to which f² goes as its power of the size of h says.
    """
    z, w = tables()[:2]
    fixed = normed**2
    one, other = (float(x @ (w * (z * z - 1))) / max(float(x @ w), 1e-300) for x in (square, fixed))
    left = float(np.interp(sphere[0], z, normed) ** 2 @ sphere[1]) / max(float(fixed @ w), 1e-300)
    return left ** min(max(one / other, 0.0), 1.0) if left > 0 and other > 0 else 1.0
