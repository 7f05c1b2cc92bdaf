"""Where a series of losses stands and how sure that is, by medians: one wild batch does not move it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# 1/Phi^-1(3/4): makes the median absolute deviation a standard deviation for a normal law.
SIGMA_PER_MAD = 1.482602218505602

# The standard error of a median of n normal numbers is sqrt(pi/2) sigma/sqrt(n).
_MEDIAN = math.sqrt(math.pi / 2)


class Level(NamedTuple):
    """A median, its standard error, and the spread of single numbers about it."""

    value: float
    error: float
    spread: float


def level(losses: Sequence[float]) -> Level:
    """Return the level of losses; infinite where half of them are not finite, NaN where there are none.

    >>> level([1.0, 2.0, 3.0, 2.0, 1000.0]).value
    2.0
    """
    if not losses:
        return Level(math.nan, math.nan, math.nan)
    middle = statistics.median([x if math.isfinite(x) else math.inf for x in losses])
    if not math.isfinite(middle):
        return Level(math.inf, math.nan, math.nan)
    spread = SIGMA_PER_MAD * statistics.median([abs(x - middle) for x in losses])
    return Level(middle, _MEDIAN * spread / math.sqrt(len(losses)), spread)


def last_fifth(losses: Sequence[float], steps: int | None = None) -> Level:
    """Return the level that a run has reached in the last fifth of its first `steps` steps.

    >>> last_fifth([9.0, 8.0, 7.0, 6.0, 5.0]).value
    5.0
    """
    seen = list(losses[:steps])
    return level(seen[-max(len(seen) // 5, 1) :]) if seen else level(seen)
