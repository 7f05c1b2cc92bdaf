"""The mean squared curvature of an activation, which bends the correlation map at c = 1."""

from __future__ import annotations

import math

import numpy as np

from steadygrad.errors import not_allowed

from .activations import activation
from .activations.activation import Array
from .gaussian import check_variance, nodes
from .moments import Spec

_ORDER = 16


def curvature(phi: Spec, q: float) -> float:
    """Return E[phi''(u)^2] for u ~ N(0, q): d/dc E[phi'(u)phi'(v)] = q E[phi''^2] at c = 1.

    phi' is differentiated on each panel of the quadrature as the polynomial through its 16 nodes; panels end at
    kinks. Where phi' jumps the mean is infinite.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of u, > 0.

    Raises:
        ValueError: where q is not above 0.

    References: Price, "A useful theorem for nonlinear devices having Gaussian inputs", 1958; Hayou, Doucet and
        Rousseau, "On the impact of the activation function on deep neural networks training", 2019, prop. 3.

    >>> round(curvature("square", 3.0), 10), curvature("relu", 1.0)
    (4.0, inf)
    """
    entry = activation(phi)
    if check_variance(q) == 0:
        raise ValueError(not_allowed("q", "must be > 0 for a curvature", q))
    if entry.corners or entry.jumps:
        return math.inf
    z, w = nodes(entry, q)
    slopes = entry.derivative(math.sqrt(q) * z).reshape(-1, _ORDER)
    # A panel's half width, from its outermost nodes.
    half = (z[_ORDER - 1 :: _ORDER] - z[::_ORDER]) / (_NODES[-1] - _NODES[0]) * math.sqrt(q)
    return float(w @ ((slopes @ _DIFFERENTIATE.T) / half[:, None]).ravel() ** 2)


def _differentiation(x: Array) -> Array:
    """The matrix of the derivative of the polynomial through values at x (Berrut and Trefethen 2004, eq. 9.4)."""
    apart = x[:, None] - x + np.eye(x.size)
    weights = 1 / apart.prod(axis=1)
    matrix = weights / weights[:, None] / apart
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.asarray(matrix)


_NODES = np.polynomial.legendre.leggauss(_ORDER)[0]
_DIFFERENTIATE = _differentiation(_NODES)
