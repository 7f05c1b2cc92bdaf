"""What the mean over all places has, of an example and of two, through sums, products and terms that are alike.

Relative to the second moment, where more is known of it than lags say (`Field.in_all`, mean_of_all.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .field import Array, Field

Pair: TypeAlias = tuple[float, float]
"""Of an example, and of two distinct ones."""


def beside(known: Pair | None, factor: float) -> Pair | None:
    """Return it beside a term that is the same everywhere: `factor` of the second moment varies.

    >>> beside((0.0, -0.5), 0.5)
    (0.5, 0.25)
    """
    return known and (1 - factor * (1 - known[0]), 1 - factor * (1 - known[1]))


def mixed(weight: float, one: Field, rest: float, other: Field) -> Pair | None:
    """Return it of a sum of independent terms of these weights."""
    if one.in_all is None and other.in_all is None:
        return None
    own, apart = (weight * (1 - a) + rest * (1 - b) for a, b in zip(one.mean(), other.mean(), strict=True))
    return own, apart


def met(one: Field, other: Field) -> Pair | None:
    """Return it of a product of independent factors, of which it is known of one."""
    if one.in_all is None and other.in_all is None:
        return None
    own, apart = (float((one.weights * a * b).sum()) for a, b in zip(_by_lag(one), _by_lag(other), strict=True))
    return own, apart


def _by_lag(field: Field) -> tuple[Array, Array]:
    """Return the products of two places by lag, those of distinct ones as much larger as their known mean says."""
    found = 1 - field.within, 1 - field.across
    if field.in_all is None or field.count < 2:
        return found
    apart, w = np.ones(field.sizes), field.weights
    apart.flat[0] = 0.0
    more = [(m - float((w * x).sum())) / (1 - float(w.flat[0])) for m, x in zip(field.in_all, found, strict=True)]
    return found[0] + apart * more[0], found[1] + apart * more[1]
