"""Roots of a scalar function between the points of a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .activations.activation import Array


def crossings(f: Callable[[float], float], grid: Array, values: Array) -> list[float]:
    """Return a root of f for each change of sign of its values on the grid, and the grid points that are roots.

    >>> crossings(lambda x: x * x - 2.0, np.array([0.0, 1.0, 2.0]), np.array([-2.0, -1.0, 2.0]))
    [1.414213562373095...]
    """
    exact = grid[values == 0].tolist()
    between = np.flatnonzero(values[:-1] * values[1:] < 0)
    return sorted([*exact, *(bracketed(f, float(grid[i]), float(grid[i + 1])) for i in between)])


def bracketed(f: Callable[[float], float], low: float, high: float) -> float:
    """Return the root in a bracket by Illinois' false position, which never leaves it; halved where that is slow.

    >>> bracketed(lambda x: x**3 - 8.0, 0.0, 5.0)
    2.0
    """
    f_low, f_high = f(low), f(high)
    if f_low * f_high > 0:
        raise ValueError(f"`f` must change sign between {low:g} and {high:g}.")
    for step in range(200):
        middle = (low + high) / 2 if step % 4 == 3 else (low * f_high - high * f_low) / (f_high - f_low)
        value = f(middle)
        if value == 0 or abs(high - low) <= 4e-16 * abs(middle):
            return middle
        if (value > 0) == (f_high > 0):
            high, f_high, f_low = middle, value, f_low / 2
        else:
            low, f_low, f_high = middle, value, f_high / 2
    return middle
