"""What theory says of an activation's scales: which keep a signal of unit variance, and which bring it back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from steadygrad import theory


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A point of the edge of chaos, chi_1 = 1.

    Attributes:
        q: the variance that it keeps.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases.
        slope: V'(q), below 1 where the variance comes back by itself.
    """

    q: float
    sigma_w: float
    sigma_b: float
    slope: float


def steadiest_edge(activation: str) -> Edge:
    """Return the point of the edge whose variance comes back soonest, over q from 0.01 to 100.

    At the gain of q, chi_1 = gain² E[φ'²] and V' = s. The edge divides sigma_w² by chi_1, and a bias of variance
    q (1 - 1/chi_1) keeps q: V' = s / chi_1 there.

    >>> round(steadiest_edge("gelu").slope, 2), round(steadiest_edge("tanh").sigma_b) > 1
    (0.98, True)
    """
    return min(_edges(activation), key=lambda edge: edge.slope)


def _edges(activation: str) -> list[Edge]:
    found = []
    for q in np.geomspace(0.01, 100.0, 41).tolist():
        gain = theory.gain(activation, q)
        if gain.chi_1 >= 1:
            sigma_w, sigma_b = gain.gain / math.sqrt(gain.chi_1), math.sqrt(q * (1 - 1 / gain.chi_1))
            found.append(Edge(q=q, sigma_w=sigma_w, sigma_b=sigma_b, slope=gain.stability / gain.chi_1))
    return found


def kept_gain(activation: str) -> float:
    """Return the sigma_w at which inputs of q = 1 give hidden layers of q = 1: E[φ(sigma_w z)²] = 1.

    The first layer has no activation before it, so its q is sigma_w², not 1: this, and not the unit gain, is the scale
    that keeps what comes in where every layer has one scale and there is no bias.

    Raises:
        ValueError: there is none below 10: φ² stays below 1, as that of tanh.

    >>> round(kept_gain("gelu"), 4), round(kept_gain("relu") ** 2, 6)
    (1.468, 2.0)
    """
    return float(brentq(lambda sigma_w: theory.moments(activation, sigma_w**2).second - 1, 0.2, 10.0))


def variances(activation: str, q: float, layers: int, *, sigma_w: float, sigma_b: float = 0.0) -> list[float]:
    """Return q_1 = q and what the variance map makes of it, a number a layer.

    >>> [round(q, 9) for q in variances("relu", 0.5, 3, sigma_w=1.0)]
    [0.5, 0.25, 0.125]
    """
    out = [q]
    while len(out) < layers:
        out.append(theory.variance_map(activation, out[-1], sigma_w=sigma_w, sigma_b=sigma_b))
    return out
