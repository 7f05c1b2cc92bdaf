"""The scales that are trained: so many layers of xi on either side of the edge of chaos, and the edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq

from steadygrad import theory

SIGMA_B = 0.05**0.5
ACTIVATIONS = ("tanh", "erf")
Side = Literal["ordered", "critical", "chaotic"]
SIDES: tuple[Side, ...] = ("ordered", "chaotic")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A weight scale and what theory says of it.

    Attributes:
        activation: whose.
        side: of the edge of chaos.
        sigma_w: the scale.
        q: q* of the variance map.
        chi_1: the factor of the squared gradient a layer.
    """

    activation: str
    side: Side
    sigma_w: float
    q: float
    chi_1: float

    @property
    def xi(self) -> float:
        """1 / |ln chi_1|: layers over which correlations (ordered) or gradients (chaotic) change by e; inf on the edge.

        >>> round(scale_at("tanh", "ordered", 5.0).xi, 6)
        5.0
        """
        rate = abs(math.log(self.chi_1))
        return 1 / rate if rate > 1e-9 else math.inf


def scale_at(activation: str, side: Side, xi: float = math.inf) -> Scale:
    """Return the scale at which a signal reaches xi layers, on this side of the edge."""
    edge = theory.edge_of_chaos(activation, sigma_b=SIGMA_B).sigma_w
    if side == "critical":
        return _scale(activation, side, edge)
    rate = (-1 if side == "ordered" else 1) / xi
    within = (0.3, edge) if side == "ordered" else (edge, 20.0)
    found = brentq(lambda sigma_w: math.log(_scale(activation, side, sigma_w).chi_1) - rate, *within)
    return _scale(activation, side, float(found))


def _scale(activation: str, side: Side, sigma_w: float) -> Scale:
    point = theory.fixed_points(activation, sigma_w=sigma_w, sigma_b=SIGMA_B).points[-1]
    return Scale(activation=activation, side=side, sigma_w=sigma_w, q=point.q, chi_1=point.chi_1)
