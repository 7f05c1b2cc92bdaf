"""How the entries of a parameter are distributed: values on nodes of probability, of mean 0 and variance 1.

A function of independent draws is one of their law: it is taken on the nodes, so that a truncated, folded or clamped
initialization has the moments that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from .values import Array, Fill

NODES = 2000
_ROUNDING = 1e-12  # a mean of this size, in deviations, is what rounding leaves of none
REACH = 8.0  # of a normal law: beyond lies less than 2e-15


@dataclass(frozen=True, eq=False)
class Law:
    """Values that an entry takes, [nodes] in the order of the draw behind it, and their probabilities."""

    values: Array
    weights: Array

    @cached_property
    def kurtosis(self) -> float:
        """E[x⁴] of the standardised entry."""
        return float(self.weights @ self.values**4)

    def quantiles(self, count: int) -> Array:
        """Return the means of `count` equally probable parts, scaled to variance one.

        >>> UNIFORM.quantiles(4).round(2).tolist()
        [-1.34, -0.45, 0.45, 1.34]
        """
        order = np.argsort(self.values, kind="stable")
        reached = np.concatenate([[0.0], np.cumsum(self.weights[order])])
        summed = np.concatenate([[0.0], np.cumsum((self.weights * self.values)[order])])
        edges = np.linspace(0.0, reached[-1], count + 1)
        means = np.diff(np.interp(edges, reached, summed)) * count
        size = float(np.sqrt((means**2).mean()))
        return np.asarray(means / size if size > 0 else means)


def _normal() -> Law:
    edges = np.linspace(-REACH, REACH, NODES + 1)
    weights = np.diff(ndtr(edges))
    middle = (edges[1:] + edges[:-1]) / 2
    return standardised(middle, weights / weights.sum())[2]


def standardised(values: Array, weights: Array) -> tuple[float, float, Law]:
    """Return mean and variance of values on nodes, and their law.

    >>> mean, variance, law = standardised(np.array([0.0, 4.0]), np.array([0.5, 0.5]))
    >>> mean, variance, law.kurtosis
    (2.0, 4.0, 1.0)
    """
    mean = float(weights @ values)
    variance = float(weights @ (values - mean) ** 2)
    if variance <= 1e-24 * max(mean * mean, 1e-300):
        return mean, 0.0, Law(np.zeros_like(values), weights)
    law = Law((values - mean) / np.sqrt(variance), weights)
    return (mean if mean * mean > _ROUNDING**2 * variance else 0.0), variance, law


def _even(values: Array) -> Law:
    return standardised(values, np.full(len(values), 1 / len(values)))[2]


NORMAL = _normal()
UNIFORM = _even((np.arange(NODES) + 0.5) / NODES)


def law_of(fill: Fill) -> Law:
    """Return the law of a fill: its own, else that of its kurtosis, which of a uniform draw is 9/5."""
    if fill.law is not None:
        return fill.law
    return UNIFORM if fill.kurtosis == UNIFORM_KURTOSIS else NORMAL


UNIFORM_KURTOSIS = 1.8


def distributed(values: Array, weights: Array, source: int) -> Fill:
    """Return the fill whose entries take these values.

    >>> distributed(np.array([-1.0, 1.0]), np.array([0.5, 0.5]), 0).variance
    1.0
    """
    mean, variance, law = standardised(values, weights)
    return Fill(mean, variance, source, law.kurtosis if variance > 0 else 3.0, law=law)


def values_of(fill: Fill) -> Array:
    """Return the values of a fill's entry on the nodes of its law."""
    return np.asarray(fill.mean + fill.variance**0.5 * law_of(fill).values)
