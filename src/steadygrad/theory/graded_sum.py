"""Sums over all integers m >= 0 of terms that vary slowly with m, from a few hundred of them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .activations.activation import Array

_FIRST = 32  # terms taken one by one
_RATIO = 4  # of the ends of a panel
_ORDER = 16  # Gauss points a panel: a power of m over a ratio of 4 is summed to 3^-32 = 5e-16
_PANELS = 40


@lru_cache(maxsize=1)
def _rule() -> tuple[Array, Array]:
    m, w = [np.arange(float(_FIRST))], [np.ones(_FIRST)]
    low = _FIRST
    for _ in range(_PANELS):
        nodes, weights = discrete_gauss((_RATIO - 1) * low, _ORDER)
        m, w, low = [*m, low + nodes], [*w, weights], low * _RATIO
    return np.concatenate(m), np.concatenate(w)


def graded_rule(largest: float) -> tuple[Array, Array]:
    """Return real m_i and weights with sum_(m = 0)^largest F(m) = sum_i w_i F(m_i), `largest` rounded up to a panel.

    Terms below 32 stand for themselves; panels [32 4^j, 32 4^(j+1)) have 16 Gauss points each.

    Args:
        largest: the last m that counts, within [0, 1e25].

    >>> m, w = graded_rule(1e12)
    >>> round(float(w @ (m + 1) ** -2.0), 9) == round(math.pi**2 / 6, 9)
    True
    """
    m, w = _rule()
    panels = max(0, math.ceil(math.log(max(largest, 1.0) / _FIRST, _RATIO)))
    end = _FIRST + _ORDER * min(panels, _PANELS)
    return m[:end], w[:end]


def discrete_gauss(count: int, order: int) -> tuple[Array, Array]:
    """Return the Gauss rule of the sum over 0, 1, ..., count - 1, exact for polynomials of degree 2 order - 1.

    The nodes are the roots of the discrete Chebyshev polynomials, whose recurrence has the coefficients
    alpha = (N - 1)/2, beta_j = j^2 (N^2 - j^2) / (4 (4 j^2 - 1)).

    Args:
        count: N, > order.
        order: number of nodes.

    References: Gautschi, "Orthogonal Polynomials: Computation and Approximation", 2004, table 1.2 and section 3.1.

    >>> x, w = discrete_gauss(100, 4)
    >>> round(float(w @ x**7) / sum(k**7 for k in range(100)), 12)
    1.0
    """
    j = np.arange(1.0, order)
    size = float(count)
    off = np.sqrt(j**2 * (1 - (j / size) ** 2) / (4 * (4 * j**2 - 1)))
    roots, vectors = np.linalg.eigh(np.diag(off, 1) + np.diag(off, -1))
    return size * roots + (size - 1) / 2, size * vectors[0] ** 2


def central_binomial(m: Array) -> Array:
    """Return C(2m, m) / 4^m = Gamma(m + 1/2) / (sqrt(pi) Gamma(m + 1)) for real m: integers below 32, or from 32 on.

    >>> central_binomial(np.array([1.0, 40.0])).round(12).tolist() == [0.5, round(math.comb(80, 40) / 4**40, 12)]
    True
    """
    exact = np.cumprod(np.append(1.0, 1 - 0.5 / np.arange(1.0, _FIRST)))
    large = np.maximum(m, _FIRST)
    series = np.polynomial.polynomial.polyval(1 / large, _STIRLING) / np.sqrt(np.pi * large)
    return np.where(m < _FIRST, exact[np.minimum(m, _FIRST - 1).astype(np.intp)], series)


# Asymptotic series in 1/m of sqrt(pi m) C(2m, m) / 4^m; the next term is below 1e-15 at m = 32.
_STIRLING = [
    1.0,
    -1 / 8,
    1 / 128,
    5 / 1024,
    -21 / 32768,
    -399 / 262144,
    869 / 4194304,
    39325 / 33554432,
    -334477 / 2147483648,
]
