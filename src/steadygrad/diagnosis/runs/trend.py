"""Whether a series goes down or up, whatever the law of its noise: the rank test of Mann and Kendall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# |z| beyond which a trend is taken for one: a series without a trend gives it once in 370 runs.
SURE = 3.0


# Below it too little is left of a number once its place's mean is taken away.
_PERIODS = 3


def trend(series: Sequence[float], *, period: int | None = None) -> float:
    """Return the z score of Kendall's S: below 0 where later numbers are smaller; 0 where there are fewer than 8.

    ``z = S / sqrt(n (n - 1) (2n + 5) / 18)``, S the number of later pairs that are larger less those that are smaller.

    Args:
        series: numbers in order; what is not finite counts as largest.
        period: numbers until the same batches come again: where there are three periods or more, each number is taken
            less the mean of its place, so that a batch is compared with itself.

    References: Mann 1945; Kendall 1975; for independent noise.

    >>> trend(range(20)) > 5, trend([1.0, 2.0] * 20) < 1
    (True, True)
    """
    x = np.asarray(list(series), dtype=float)
    n = len(x)
    if n < 8:
        return 0.0
    x = np.where(np.isfinite(x), x, np.inf)
    if period is not None and n >= _PERIODS * period and np.isfinite(x).all():
        x = _without_places(x, period)
    larger = np.greater.outer(x, x).astype(float) - np.less.outer(x, x).astype(float)
    return float(np.tril(larger, -1).sum()) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def _without_places(x: np.ndarray, period: int) -> np.ndarray:
    places = np.arange(len(x)) % period
    means = np.bincount(places, x) / np.bincount(places)
    return np.asarray(x - means[places])
