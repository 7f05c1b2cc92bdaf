"""Hermite coefficients of an activation: E[phi(u)phi(v)] = sum_n a_n^2 c^n."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .activations.activation import Array, Pointwise
from .gaussian import standard_rule

LEVELS = (64, 128, 256)


@lru_cache(maxsize=8)
def _projection(terms: int) -> tuple[Array, Array, Array]:
    """Nodes z, weights, and the matrix whose product with phi at the nodes is the coefficients."""
    # h_n oscillates with local frequency sqrt(n): a panel of 16 nodes may hold about 10 radians of h_n phi.
    z, w = standard_rule((0.0,), scale=1.0, longest=min(2.0, 16 / math.sqrt(terms)))
    rows = np.empty((terms, z.size))
    rows[0], rows[1] = 1.0, z
    for n in range(1, terms - 1):
        rows[n + 1] = (z * rows[n] - math.sqrt(n) * rows[n - 1]) / math.sqrt(n + 1)
    return z, w, rows * w


def hermite_squares(f: Pointwise, q: float) -> Array | None:
    """Return a_n^2 / sum a_n^2 for f(sqrt(q) z), or None where 256 terms do not hold its slope to 1e-12.

    a_n = E[f(sqrt(q) z) h_n(z)] with the normalised probabilists' Hermite polynomials h_n. The test is on
    sum n a_n^2 = q E[f'^2], the slope of the correlation map at c = 1, which converges last.

    >>> squares = hermite_squares(np.tanh, 1.0)
    >>> round(float(squares[1]), 6)  # the share of the linear part
    0.93047
    """
    for terms in LEVELS:
        z, _, project = _projection(terms)
        a = project @ f(math.sqrt(q) * z)
        squares = a * a
        weighted = squares * np.arange(terms)
        # Half of the terms must be idle: what is left out is then far below the last quarter's share.
        if weighted[-terms // 4 :].sum() <= 1e-13 * weighted.sum():
            return np.asarray(squares / squares.sum())
    return None


def power_gaps(gap: Array, terms: int) -> Array:
    """Return 1 - (1 - t)^n for n < terms, one row a gap, to its own relative digits.

    >>> power_gaps(np.array([1e-30]), 3).tolist()
    [[0.0, 1e-30, 2e-30]]
    """
    n = np.arange(terms)
    # log |c| and the sign of c^n apart: one expm1 for both signs of c.
    negative = gap > 1
    log_c = np.log1p(-np.minimum(np.where(negative, 2 - gap, gap), 1 - 1e-300 - 2.0**-53))
    lost = -np.expm1(log_c[:, None] * n)
    if negative.any():
        lost[np.ix_(negative, n % 2 == 1)] = 2 - lost[np.ix_(negative, n % 2 == 1)]
    return np.asarray(lost)
