"""A user's own function as an activation: its kinks are searched, its derivative is taken numerically.

On an interval where phi is analytic its Chebyshev coefficients decay geometrically; around a kink they do not,
however small the interval. Bisection therefore closes in on every kink. The derivative at u is that of the
polynomial through the 13 Chebyshev points of a window around u that holds no kink (Trefethen, "Approximation Theory
and Approximation Practice", 2013, chapters 8 and 21).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from steadygrad.errors import in_short, not_allowed

from .activation import Activation, Array, Pointwise

REACH = 64.0
_EPS = 2.0**-52
_DEGREE = 12
_WINDOW = 0.25
_POINTS = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))[::-1].copy()
_TO_CHEBYSHEV = np.linalg.inv(np.polynomial.chebyshev.chebvander(_POINTS, _DEGREE))
_TO_SLOPE = np.polynomial.chebyshev.chebder(np.eye(_DEGREE + 1), axis=0) @ _TO_CHEBYSHEV


def from_callable(
    phi: Callable[..., Any],
    *,
    derivative: Callable[..., Any] | None = None,
    kinks: Iterable[float] | None = None,
    name: str | None = None,
) -> Activation:
    """Return a vectorised function of one float64 array as an activation.

    Args:
        phi: pointwise function; it is called with float64 arrays of any shape.
        derivative: phi'; where it is not given it is taken numerically, to about 1e-11 of phi's size and at thirteen
            times its cost.
        kinks: points where phi or a derivative jumps; searched within |u| <= 64 where they are not given.
        name: what to call it; the function's own name by default.

    Raises:
        ValueError: where phi is not finite on [-8, 8], or does not keep the shape of what it is given.

    >>> from_callable(lambda u: np.where(u > 1, u - 1, 0.0), name="shifted").kinks
    (1.0,)
    """
    return _made(phi, derivative, None if kinks is None else tuple(sorted(map(float, kinks))), name)


@lru_cache(maxsize=256)
def _made(
    given: Callable[..., Any],
    derivative: Callable[..., Any] | None,
    kinks: tuple[float, ...] | None,
    name: str | None,
) -> Activation:
    phi = _as_pointwise(given)
    found = find_kinks(phi) if kinks is None else kinks
    slope = _as_pointwise(derivative) if derivative is not None else numerical_derivative(phi, found)
    return Activation(
        name=name or str(getattr(given, "__name__", type(given).__name__)),
        phi=phi,
        derivative=slope,
        kinks=found,
        jumps=tuple(k for k in found if _jumps(phi, k)),
        corners=tuple(k for k in found if _jumps(slope, k)),
        scale=0.5,
        resolved=False,
    )


def _as_pointwise(given: Callable[..., Any]) -> Pointwise:
    def pointwise(u: Array) -> Array:
        return np.asarray(given(u), dtype=np.float64)

    with np.errstate(all="ignore"):
        try:
            probe = pointwise(np.linspace(-8, 8, 65))
        except Exception as error:
            rule = "must be a name or a function of NumPy arrays"
            raise ValueError(f"{not_allowed('activation', rule, given)[:-1]}: {in_short(error)}.") from error
    if probe.shape != (65,):
        raise ValueError(not_allowed("activation", "must return an array of the shape it is given, (65,)", probe.shape))
    if not np.isfinite(probe).all():
        raise ValueError(not_allowed("activation", "must be finite on [-8, 8]", float(probe[~np.isfinite(probe)][0])))
    return pointwise


def _jumps(f: Pointwise, at: float) -> bool:
    """Whether f itself jumps: the change across the point does not shrink with the distance."""
    near, far = (abs(float(np.diff(f(np.array([at - h, at + h])))[0])) for h in (1e-8, 1e-6))
    return near > 0.5 * far and near > 1e-9


def find_kinks(phi: Pointwise) -> tuple[float, ...]:
    """Return the points within |u| <= 64 where phi is not analytic, found by bisection.

    A corner is found to about 1e-9, a jump of a higher derivative as far as it stands above rounding.

    >>> find_kinks(lambda u: np.maximum(u, -2.0))
    (-2.0,)
    """
    edges = np.linspace(-REACH, REACH, 257) + 1 / np.pi / 64  # no edge on a round number
    with np.errstate(all="ignore"):
        left, right = _rough(phi, edges[:-1], edges[1:])
        points: list[tuple[float, float]] = []
        while left.size and right[0] - left[0] > 1e-11 * REACH:
            middle = (left + right) / 2
            low, high = _rough(phi, np.concatenate([left, middle]), np.concatenate([middle, right]))
            # An interval that is short and rough while its halves are smooth holds what rounding hides from them.
            if right[0] - left[0] < 1e-2:
                lost = middle[~np.isin(left, low) & ~np.isin(right, high)].tolist()
                points += [(point, right[0] - left[0]) for point in lost]
            left, right = low, high
            if left.size > 4096:
                raise ValueError(not_allowed("activation", "has too many kinks to find: pass `kinks`", left.size))
    return _merged(sorted([*points, *((point, 1e-9) for point in ((left + right) / 2).tolist())]))


def _rough(phi: Pointwise, left: Array, right: Array) -> tuple[Array, Array]:
    """Return those intervals on which 13 Chebyshev points do not resolve phi."""
    width = (right - left) / 2
    u = (left + right)[:, None] / 2 + width[:, None] * _POINTS
    values = phi(u)
    # u (1 + erf u) is noise in its left tail, of the size of its right tail: rounding is measured on both.
    size, span = np.maximum(np.abs(values), np.abs(phi(-u))).max(axis=1), np.ptp(values, axis=1)
    tail = np.abs(values @ _TO_CHEBYSHEV[-4:].T).max(axis=1)
    # Rounding: of phi itself, and of the argument, which moves phi by its slope times eps |u|.
    noise = 1e-290 + 64 * _EPS * size + 8 * _EPS * np.abs(left) * span / width
    rough = ~(tail <= 1e-11 * span + noise)
    return left[rough], right[rough]


def _merged(points: list[tuple[float, float]]) -> tuple[float, ...]:
    kinks: list[float] = []
    for point, tolerance in points:
        if not kinks or point - kinks[-1] > 2 * tolerance:
            kinks.append(_shortest(point, tolerance))
    return tuple(kinks)


def _shortest(point: float, tolerance: float) -> float:
    """A kink is nearly always a short decimal: take the shortest that bisection cannot tell from it."""
    short = (round(point, digits) + 0.0 for digits in range(12))
    return next((s for s in short if abs(s - point) <= tolerance), point)


def numerical_derivative(phi: Pointwise, kinks: tuple[float, ...]) -> Pointwise:
    """Return phi' from the Chebyshev interpolant of phi on windows that hold no kink.

    >>> float(abs(numerical_derivative(np.sin, ())(np.array([0.3])) - np.cos(0.3))[0]) < 1e-12
    True
    """
    edges = np.array([-np.inf, *kinks, np.inf])

    def derivative(u: Array) -> Array:
        flat = np.ravel(u)
        piece = np.searchsorted(edges, flat, side="left").clip(1, len(edges) - 1)
        low, high = edges[piece - 1], edges[piece]
        half = np.minimum(_WINDOW, (high - low) / 2)
        centre = np.clip(flat, low + half, high - half)
        values = phi(centre[:, None] + half[:, None] * _POINTS)
        weights = _slope_weights((flat - centre) / half)
        return np.reshape((weights * values).sum(axis=1) / half, np.shape(u))

    return derivative


def _slope_weights(position: Array) -> Array:
    """Rows w with p'(s) = w . values for the interpolant p at the positions s in [-1, 1]."""
    slopes = np.polynomial.chebyshev.chebvander(position, _DEGREE - 1)
    return np.asarray(slopes @ _TO_SLOPE)
