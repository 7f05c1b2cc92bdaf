"""What is lost of a function's correlations at many differences of its arguments at once, as by all lags of a field."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .hermite import decay

Array = NDArray[np.float64]
DIRECT = 64  # differences up to which a map is taken at each of them, and not between the points of a grid
GRID = 2 * np.linspace(0, 1, 257) ** 2


def decayed(gaps: Array, masses: Array) -> Array:
    """Return sum_n masses_n (1 - c^n) at c = 1 - gap, [*gaps]; between the points of a grid where there are many."""
    flat = np.clip(gaps.ravel(), 0.0, 2.0)
    if flat.size <= DIRECT:
        distinct, back = np.unique(flat, return_inverse=True)
        return np.asarray((decay(distinct) @ masses)[back].reshape(gaps.shape))
    return np.asarray(np.interp(flat, GRID, decay_on_grid() @ masses).reshape(gaps.shape))


@cache
def decay_on_grid() -> Array:
    """Return 1 - c^n on the grid, [grid, terms and blocks]."""
    return decay(GRID)


def of_varying(mean: Array, square: Array, even: Array, odd: Array) -> Array:
    """Return sum_n masses_n E[c^n], given the mean of c and of its square."""
    root = np.sqrt(np.clip(3 * square - 2 * mean**2, 0.0, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        lean = np.where(root > 0, mean / root, 0.0)
    of_even = float(even.sum()) - decayed(1 - np.sqrt(square), even)
    return np.asarray(of_even + lean * (float(odd.sum()) - decayed(1 - root, odd)))
