"""Means over seeds, and the checks that they make."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from steadygrad.report.study_page import Check

# A check of one mean may be off by so many standard errors: one in a million is, of a normal one.
SIGMAS = 5.0


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and its standard error (NaN of one value).

    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    array = np.array(list(values), dtype=float)
    error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return float(array.mean()), float(error)


def within_errors(what: str, predicted: float, values: Iterable[float], *, sd: float | None = None) -> Check:
    """Return the check that a mean over seeds lies within five standard errors of its prediction.

    Args:
        what: is checked.
        predicted: by theory.
        values: a number a seed.
        sd: the standard deviation of one value where theory knows it; else that of the values.

    >>> within_errors("mean", 2.0, [1.0, 3.0]).allowed
    5.0
    """
    kept = list(values)
    mean, error = mean_and_error(kept)
    allowed = SIGMAS * (error if sd is None else sd / math.sqrt(len(kept)))
    return Check(what=what, predicted=predicted, measured=mean, error=error, allowed=allowed)


def clearly_above(what: str, least: float, values: Iterable[float]) -> Check:
    """Return the check that a mean lies above `least` by five standard errors or more.

    >>> clearly_above("gap", 1.0, [9.0, 9.1]).holds, clearly_above("gap", 1.0, [1.0, 1.1]).holds
    (True, False)
    """
    mean, error = mean_and_error(values)
    return Check(what=what, predicted=least + SIGMAS * error, measured=mean, error=error, allowed=0.0, least=True)
