"""The edge of chaos: the scales (sigma_w, sigma_b) at which chi_1 = 1, its curve, and the phase of any other pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .activations import Activation, activation
from .activations.activation import Array
from .gain import stability
from .moments import Moments, Spec, moments
from .roots import crossings
from .variance_map import FixedPoint, check_scales, fixed_points


@dataclass(frozen=True, kw_only=True)
class CriticalPoint:
    """A point of the edge of chaos.

    Attributes:
        sigma_w: the weight's scale.
        sigma_b: the bias's scale.
        q: q*, the variance that they keep.
        slope: V'(q*); the point is reached by itself where it is below 1.
    """

    sigma_w: float
    sigma_b: float
    q: float
    slope: float


@dataclass(frozen=True, kw_only=True)
class EdgeOfChaos:
    """The critical points at one sigma_b: none, one or several.

    Attributes:
        points: in rising q.
        message: what was found, in words.
    """

    points: tuple[CriticalPoint, ...]
    message: str

    @property
    def only(self) -> CriticalPoint:
        """The point, where there is exactly one; else a ValueError that says what there is."""
        if len(self.points) != 1:
            raise ValueError(self.message)
        return self.points[0]

    @property
    def sigma_w(self) -> float:
        """sigma_w of the only point."""
        return self.only.sigma_w

    @property
    def q(self) -> float:
        """q* of the only point."""
        return self.only.q


@dataclass(frozen=True, kw_only=True)
class EdgeCurve:
    """The edge of chaos as a curve, one entry a value of q*; NaN where no sigma_b >= 0 makes q* critical.

    Attributes:
        q: q*.
        sigma_w: shape as `q`.
        sigma_b: shape as `q`.
    """

    q: Array
    sigma_w: Array
    sigma_b: Array


def edge_of_chaos(phi: Spec, *, sigma_b: float = 0.0, within: tuple[float, float] = (1e-6, 1e4)) -> EdgeOfChaos:
    """Return the weight scales at which signals neither converge nor diverge, chi_1 = 1, for a given sigma_b.

    On the edge sigma_w^2 = 1/E[phi'^2](q*) and sigma_b^2 = q* - E[phi^2]/E[phi'^2](q*); the second is solved for q*.
    At sigma_b = 0 the limit q* -> 0 with sigma_w = 1/|phi'(0)| is a point as well, where phi(0) = 0 and phi is smooth.

    Args:
        phi: a name, an `Activation` or a callable.
        sigma_b: the bias's standard deviation, >= 0.
        within: the range of q* searched.

    Raises:
        ValueError: for a negative or non-finite sigma_b.

    References: Schoenholz et al., 2017, eq. 6 and figure 1; Hayou, Doucet and Rousseau, 2019, proposition 1.

    >>> edge = edge_of_chaos("tanh", sigma_b=0.05**0.5)
    >>> round(edge.sigma_w**2, 6), round(edge.q, 6)
    (1.760955, 0.570048)
    """
    check_scales(0.0, sigma_b)
    entry = activation(phi)

    def excess(q: float) -> float:
        return _bias_variance(q, moments(entry, q)) - sigma_b**2

    grid = np.geomspace(*within, 121)
    values = np.array([excess(q) for q in grid])
    if np.all(np.abs(values) < 1e-12 * grid):
        m = moments(entry, 1.0)
        point = CriticalPoint(sigma_w=m.derivative_second**-0.5, sigma_b=0.0, q=math.nan, slope=1.0)
        return EdgeOfChaos(points=(point,), message=f"Every variance is critical at sigma_w = {point.sigma_w:.6g}.")
    told = np.abs(values) > 1e-11 * grid  # the rest is rounding of q - E[phi^2]/E[phi'^2]
    points = [_critical(entry, q) for q in crossings(excess, grid[told], values[told])]
    points = _at_zero(entry, sigma_b) + points
    return EdgeOfChaos(points=tuple(points), message=_message(entry, sigma_b, points))


def edge_of_chaos_curve(phi: Spec, q: ArrayLike | None = None) -> EdgeCurve:
    """Return the edge of chaos at the given q*, 200 geometric values from 1e-4 to 1e2 by default.

    >>> curve = edge_of_chaos_curve("erf", [1.0])
    >>> round(float(curve.sigma_w[0] ** 2), 6), round(float(curve.sigma_b[0] ** 2), 6)
    (1.756204, 0.18414)
    """
    entry = activation(phi)
    grid = np.geomspace(1e-4, 1e2, 200) if q is None else np.asarray(q, dtype=np.float64)
    found = [moments(entry, value) for value in grid.ravel().tolist()]
    slopes = np.array([m.derivative_second for m in found])
    bias = np.array([_bias_variance(value, m) for value, m in zip(grid.ravel().tolist(), found, strict=True)])
    bias = np.where(np.abs(bias) < 1e-12 * grid.ravel(), 0.0, bias)
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma_b = np.sqrt(bias)
        sigma_w = np.where(np.isnan(sigma_b), np.nan, slopes**-0.5)
    return EdgeCurve(q=grid, sigma_w=sigma_w.reshape(grid.shape), sigma_b=sigma_b.reshape(grid.shape))


def _bias_variance(q: float, m: Moments) -> float:
    return q - m.second / m.derivative_second if m.derivative_second else -math.inf


def _critical(entry: Activation, q: float) -> CriticalPoint:
    m = moments(entry, q)
    sigma_b = math.sqrt(max(_bias_variance(q, m), 0.0))
    slope = m.second / m.derivative_second / q * stability(entry, q, m)
    return CriticalPoint(sigma_w=m.derivative_second**-0.5, sigma_b=sigma_b, q=q, slope=slope)


def _at_zero(entry: Activation, sigma_b: float) -> list[CriticalPoint]:
    m = moments(entry, 0.0)
    smooth = 0.0 not in entry.corners and 0.0 not in entry.jumps
    if sigma_b or m.second or not m.derivative_second or not smooth:
        return []
    return [CriticalPoint(sigma_w=m.derivative_second**-0.5, sigma_b=0.0, q=0.0, slope=1.0)]


def _message(entry: Activation, sigma_b: float, points: Sequence[CriticalPoint]) -> str:
    listed = "; ".join(f"sigma_w = {p.sigma_w:.6g} with q* = {p.q:.6g}" for p in points)
    if not points:
        return f"{entry} has no critical sigma_w at sigma_b = {sigma_b:g}."
    number = "One critical point" if len(points) == 1 else f"{len(points)} critical points"
    return f"{number} of {entry} at sigma_b = {sigma_b:g}: {listed}."


PhaseName = Literal["ordered", "critical", "chaotic", "no fixed point", "several"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Where a pair of scales stands.

    Attributes:
        name: ordered (chi_1 < 1), critical, chaotic; "no fixed point" where the variance has no stable limit;
            "several" where stable fixed points disagree.
        fixed_point: the stable fixed point, where there is one.
        message: in words.
    """

    name: PhaseName
    fixed_point: FixedPoint | None
    message: str


def phase(phi: Spec, *, sigma_w: float, sigma_b: float = 0.0) -> Phase:
    """Return the phase of a pair of scales: whether two inputs converge (ordered) or part (chaotic).

    Args:
        phi: a name, an `Activation` or a callable.
        sigma_w: the weight's standard deviation times sqrt(fan_in).
        sigma_b: the bias's standard deviation.

    References: Poole et al., 2016, section 3; Schoenholz et al., 2017, section 3.

    >>> phase("tanh", sigma_w=1.8, sigma_b=0.05**0.5).name
    'chaotic'
    """
    entry = activation(phi)
    found = fixed_points(entry, sigma_w=sigma_w, sigma_b=sigma_b)
    if found.everywhere:
        chi_1 = sigma_w**2 * moments(entry, 1.0).derivative_second
        return Phase(name=_named(chi_1), fixed_point=None, message=f"{found.message} chi_1 = {chi_1:.6g}.")
    stable = [p for p in found.points if p.stable or (p.q == 0 and p.slope <= 1 + 1e-6)]
    if not stable:
        return Phase(name="no fixed point", fixed_point=None, message=found.message)
    names = {_named(p.chi_1) for p in stable}
    if len(names) > 1:
        return Phase(name="several", fixed_point=None, message=found.message)
    message = f"{found.message} chi_1 = {stable[-1].chi_1:.6g}."
    return Phase(name=names.pop(), fixed_point=stable[-1], message=message)


def _named(chi_1: float) -> Literal["ordered", "critical", "chaotic"]:
    if abs(chi_1 - 1) < 1e-9:
        return "critical"
    return "ordered" if chi_1 < 1 else "chaotic"
