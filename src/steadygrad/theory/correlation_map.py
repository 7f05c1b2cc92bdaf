"""Correlation maps, as maps of the gap t = 1 - c, which keeps its own relative digits as c -> 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadygrad.errors import not_allowed

from .activations import Activation, activation
from .activations.activation import Array
from .angle_map import angle_map, function_of, over_the_angle
from .gaussian import check_variance
from .hermite import hermite_squares, power_gaps
from .mixture_map import mixture_map
from .moments import Spec, moments


def gap_map(phi: Spec, q: float, gap: ArrayLike) -> Array:
    """Return 1 - C(1 - t) for gaps t, where C(c) = E[phi(u)phi(v)] / E[phi^2].

    u, v ~ N(0, q) with correlation c = 1 - t. Closed form where there is one; else the Hermite series
    1 - C = sum a_n^2 (1 - (1 - t)^n) / sum a_n^2, whose terms are all positive, with a_n by quadrature or, where they
    fall slowly, in closed form for a sum of Gaussians that fits phi' (`MixtureMap`); else an integral over the angle
    (`AngleMap`). Each keeps ten relative digits down to t = 1e-30.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations, > 0.
        gap: t = 1 - c, in [0, 2]; any shape.

    Returns:
        An array of the gaps' shape.

    Raises:
        ValueError: where q is not above 0, a gap leaves [0, 2], or phi is 0 almost surely.

    References: Poole et al., 2016, eq. 5; Daniely, Frostig and Singer, 2016, eq. 3 (Hermite expansion).

    >>> gap_map("relu", 1.0, [1.0, 1e-30])
    array([6.81690114e-01, 1.00000000e-30])
    """
    return _mapped(phi, q, gap, "phi")


def derivative_gap_map(phi: Spec, q: float, gap: ArrayLike) -> Array:
    """Return 1 - E[phi'(u)phi'(v)] / E[phi'^2] at gaps t: what differs between two inputs' derivatives.

    For a kinked phi it falls as sqrt(t): two inputs that are close still lie on different sides.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations, > 0.
        gap: t = 1 - c, in [0, 2].

    >>> round(float(derivative_gap_map("relu", 1.0, 1.0)), 12)
    0.5
    """
    return _mapped(phi, q, gap, "derivative")


def square_correlation(phi: Spec, q: float, gap: ArrayLike) -> Array:
    """Return E[phi(u)^2 phi(v)^2] / E[phi^2]^2 - 1 at gaps t; kappa at t = 0.

    Two examples' squared norms fluctuate together over draws of the weights by this much.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations, > 0.
        gap: t = 1 - c, in [0, 2].

    >>> round(float(square_correlation("relu", 1.0, 0.0)), 12)
    5.0
    """
    return _square(phi, q, gap, "square")


def derivative_square_correlation(phi: Spec, q: float, gap: ArrayLike) -> Array:
    """Return E[phi'(u)^2 phi'(v)^2] / E[phi'^2]^2 - 1 at gaps t.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations, > 0.
        gap: t = 1 - c, in [0, 2].

    >>> round(float(derivative_square_correlation("relu", 1.0, 0.0)), 12)
    1.0
    """
    return _square(phi, q, gap, "derivative_square")


def correlation_map(phi: Spec, q: float, c: ArrayLike) -> Array:
    """Return C(c) = E[phi(u)phi(v)] / E[phi^2] at correlations c in [-1, 1].

    Use `gap_map` near c = 1, where 1 - C is what matters.

    >>> round(float(correlation_map("relu", 1.0, 0.0)), 6)
    0.31831
    """
    c = np.asarray(c, dtype=np.float64)
    if not np.all(np.abs(c) <= 1):
        raise ValueError(not_allowed("c", "is a correlation and must be within [-1, 1]", _first_bad(c, np.abs(c) <= 1)))
    return np.asarray(1 - gap_map(phi, q, 1 - c))


def _first_bad(values: Array, good: NDArray[np.bool_]) -> float:
    return float(np.ravel(values)[np.flatnonzero(~np.ravel(good))[0]])


def _checked(q: float, gap: ArrayLike) -> tuple[float, Array]:
    t = np.asarray(gap, dtype=np.float64)
    inside = (t >= 0) & (t <= 2)
    if not inside.all():
        raise ValueError(not_allowed("gap", "is 1 - c and must be within [0, 2]", _first_bad(t, inside)))
    if check_variance(q) == 0:
        raise ValueError(not_allowed("q", "must be > 0 for a correlation", q))
    return float(q), t


def _mapped(phi: Spec, q: float, gap: ArrayLike, kind: str) -> Array:
    q, t = _checked(q, gap)
    return np.reshape(_kernel(activation(phi), q, kind)(t.ravel()), t.shape)


def _square(phi: Spec, q: float, gap: ArrayLike, kind: str) -> Array:
    q, t = _checked(q, gap)
    entry = activation(phi)
    closed = getattr(entry.closed, kind)
    if closed is not None:
        return np.reshape(closed(q, t.ravel()), t.shape)
    m = moments(entry, q)
    kappa = m.kappa if kind == "square" else m.derivative_kappa
    return np.asarray(kappa - (1 + kappa) * np.reshape(_kernel(entry, q, kind)(t.ravel()), t.shape))


@lru_cache(maxsize=1024)
def _kernel(entry: Activation, q: float, kind: str) -> Callable[[Array], Array]:
    closed = {"phi": entry.closed.gap, "derivative": entry.closed.derivative_gap}.get(kind)
    if closed is not None:
        return lambda t: closed(q, t)
    f, kinks, _ = function_of(entry, kind)
    squares = None if kinks else hermite_squares(f, q)
    if squares is None:
        mixture = None if over_the_angle(entry, q, kind) else mixture_map(entry, q, kind)
        return mixture or angle_map(entry, q, kind)
    used = int(np.flatnonzero(squares > 1e-18 * squares.max())[-1]) + 1
    return lambda t: power_gaps(t, used) @ squares[:used]
