"""The variance map V(q) = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2, and its fixed points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from steadygrad.errors import not_allowed

from .activations import activation
from .gain import stability
from .moments import Spec, moments
from .roots import crossings


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """A fixed point q* of the variance map.

    Attributes:
        q: q*.
        slope: V'(q*).
        stable: whether a small deviation dies out, |V'| < 1; False where it stays (V' = 1).
        basin: the interval of starting variances that end here, up to the neighbouring fixed points, for a map that
            rises (that of cos falls); (q*, q*) where it is unstable.
        chi_1: sigma_w^2 E[phi'^2] at q*.
        xi_q: -1/ln |V'(q*)|, the layers over which a deviation falls by e; inf at V' = 1, NaN where unstable.
        xi_c: -1/ln chi_1, the same for 1 - c near 1; inf at chi_1 = 1, NaN where chaotic.
    """

    q: float
    slope: float
    stable: bool
    basin: tuple[float, float]
    chi_1: float
    xi_q: float
    xi_c: float


@dataclass(frozen=True, kw_only=True)
class FixedPoints:
    """All fixed points of a variance map within the range searched, in rising order.

    Attributes:
        points: the fixed points; empty where there is none.
        everywhere: whether every q is fixed (ReLU at its gain without bias).
        message: what was found, in words.
    """

    points: tuple[FixedPoint, ...]
    everywhere: bool
    message: str


def variance_map(phi: Spec, q: float, *, sigma_w: float, sigma_b: float = 0.0) -> float:
    """Return V(q) = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2, the next layer's variance.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activation, >= 0.
        sigma_w: the weight's standard deviation times sqrt(fan_in), >= 0.
        sigma_b: the bias's standard deviation, >= 0.

    Raises:
        ValueError: for a negative or non-finite argument.

    References: Poole et al., "Exponential expressivity in deep neural networks", 2016, eq. 3.

    >>> round(variance_map("relu", 3.0, sigma_w=2**0.5), 12)
    3.0
    """
    check_scales(sigma_w, sigma_b)
    return sigma_w**2 * moments(phi, q).second + sigma_b**2


def check_scales(sigma_w: float, sigma_b: float) -> None:
    """Raise unless both are finite and >= 0."""
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if not 0 <= value < math.inf:
            raise ValueError(not_allowed(name, "is a standard deviation and must be >= 0", value))


def fixed_points(
    phi: Spec,
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    within: tuple[float, float] = (1e-8, 1e6),
) -> FixedPoints:
    """Return the fixed points q* = V(q*) of the variance map, their stability, basins and depth scales.

    Sign changes of V(q) - q on 240 geometric steps are refined by false position; q = 0 is added where V(0) = 0.
    Two fixed points within one step (12% apart) can be missed.

    Args:
        phi: a name, an `Activation` or a callable.
        sigma_w: the weight's standard deviation times sqrt(fan_in).
        sigma_b: the bias's standard deviation.
        within: the range searched.

    References: Poole et al., 2016, eq. 4 to 6; Schoenholz et al., 2017, eq. 8 to 10.

    >>> found = fixed_points("tanh", sigma_w=1.3, sigma_b=0.3)
    >>> round(found.points[0].q, 6), round(found.points[0].chi_1, 6)
    (0.607047, 0.939807)
    """
    check_scales(sigma_w, sigma_b)
    entry = activation(phi)

    def excess(q: float) -> float:
        return sigma_w**2 * moments(entry, q).second + sigma_b**2 - q

    grid = np.geomspace(*within, 241)
    values = np.array([excess(q) for q in grid])
    if np.all(np.abs(values) < 1e-12 * grid):
        return FixedPoints(points=(), everywhere=True, message="Every variance is a fixed point.")
    roots = crossings(excess, grid, values)
    roots = ([0.0] if excess(0.0) == 0 else []) + roots
    points = tuple(_point(entry, q, sigma_w, _basin(i, roots)) for i, q in enumerate(roots))
    return FixedPoints(points=points, everywhere=False, message=_message(points, within, values[-1] > 0))


def _basin(index: int, roots: list[float]) -> tuple[float, float]:
    low = roots[index - 1] if index else 0.0
    high = roots[index + 1] if index + 1 < len(roots) else math.inf
    return (low, high)


def _point(phi: Spec, q: float, sigma_w: float, between: tuple[float, float]) -> FixedPoint:
    m = moments(phi, q)
    chi_1 = sigma_w**2 * m.derivative_second
    slope = sigma_w**2 * m.second / q * stability(phi, q) if q else _slope_at_zero(phi, sigma_w)
    stable = abs(slope) < 1 - 1e-12
    return FixedPoint(
        q=q,
        slope=slope,
        stable=stable,
        basin=between if stable else (q, q),
        chi_1=chi_1,
        xi_q=decay_length(abs(slope)),
        xi_c=decay_length(chi_1),
    )


def _slope_at_zero(phi: Spec, sigma_w: float) -> float:
    tiny = 1e-10
    return sigma_w**2 * moments(phi, tiny).second / tiny


def decay_length(factor: float) -> float:
    """Return xi = -1/ln(factor): inf at 1, NaN above, 0 at 0.

    >>> round(decay_length(0.9), 6)
    9.491222
    """
    if factor <= 0:
        return 0.0 if factor == 0 else math.nan
    if abs(factor - 1) < 1e-12:
        return math.inf
    return -1 / math.log(factor) if factor < 1 else math.nan


def _message(points: tuple[FixedPoint, ...], within: tuple[float, float], grows: bool) -> str:
    if not points:
        way = "grows without bound" if grows else "falls below the range"
        return f"No fixed point between {within[0]:g} and {within[1]:g}: the variance {way}."
    stable = [p for p in points if p.stable]
    listed = ", ".join(f"{p.q:.6g} ({'stable' if p.stable else 'not stable'})" for p in points)
    several = " Several are stable: which one is reached depends on the input's variance." if len(stable) > 1 else ""
    return f"q* = {listed}.{several}"
