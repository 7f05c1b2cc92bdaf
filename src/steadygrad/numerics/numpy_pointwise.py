"""The sigmoid's family on NumPy arrays of at least single precision."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from scipy import special

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)).

    >>> sigmoid(np.array([0.0]))
    array([0.5])
    """
    result: Array = special.expit(x)
    return result


def log_sigmoid(x: Array) -> Array:
    """Return min(x, 0) - log1p(exp(-|x|)).

    >>> log_sigmoid(np.array([-800.0]))
    array([-800.])
    """
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def softplus(x: Array) -> Array:
    """Return max(x, 0) + log1p(exp(-|x|)).

    >>> softplus(np.array([800.0]))
    array([800.])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def log1mexp(x: Array) -> Array:
    """Return log(-expm1(-x)) up to ln 2, log1p(-exp(-x)) above.

    >>> log1mexp(np.array([math.log(2)]))
    array([-0.69314718])
    """
    return np.where(x <= math.log(2), np.log(-np.expm1(-x)), np.log1p(-np.exp(-x)))
