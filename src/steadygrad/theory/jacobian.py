"""The squared singular values of a network's input-output Jacobian J = D_L W_L ... D_1 W_1, in the wide limit.

Free probability multiplies the S-transforms of the factors: S(JJ^T) = (S(WW^T) S(D^2))^L, with
S(WW^T) = 1/(sigma_w^2 (1 + m)) for Gaussian and 1/sigma_w^2 for orthogonal weights, and
S(D^2) = (1 + m)/(m + p) where a share p of the units has slope 1 and the others 0 (ReLU p = 1/2, linear p = 1).
The moment generating function m(z) then solves z m S(m) = 1 + m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steadygrad.errors import not_allowed, unknown_name

from .activations import activation
from .activations.activation import Array
from .moments import Spec, moments
from .variance_map import check_scales

Weights = Literal["gaussian", "orthogonal"]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Moments of the squared singular values of J.

    Attributes:
        mean: chi_1^L.
        variance: of the squared singular values.
        relative_variance: variance / mean^2 = L (mu_2/mu_1^2 - 1 - s_1), which grows with depth unless it is 0.
    """

    mean: float
    variance: float
    relative_variance: float


def jacobian_spectrum(
    phi: Spec, *, q: float, sigma_w: float, depth: int, weights: Weights = "gaussian", width: int | None = None
) -> Spectrum:
    """Return mean and variance of the squared singular values of a square network's Jacobian at fixed q.

    mean = (sigma_w^2 mu_1)^L and variance/mean^2 = L (mu_2/mu_1^2 - 1 - s_1), mu_k = E[phi'^(2k)], s_1 = -1 for
    Gaussian, 0 for orthogonal weights, in the wide limit. At a width N both are expectations over draws, exact where
    slopes do not depend on the weights: in linear networks, and for ReLU, whose units the signs of W switch on and off.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations, the same in every layer.
        sigma_w: the weight's standard deviation times sqrt(fan_in); for orthogonal weights their scale.
        depth: layers L, >= 1.
        weights: "gaussian" or "orthogonal".
        width: units of every layer; the wide limit by default.

    References: Pennington, Schoenholz and Ganguli, "The emergence of spectral universality", 2018, eq. 21 to 24; Hanin
        and Nica, "Products of many large random matrices", 2019, section 1.

    >>> round(jacobian_spectrum("relu", q=1.0, sigma_w=2**0.5, depth=10).relative_variance, 9)
    20.0
    >>> round(jacobian_spectrum("relu", q=1.0, sigma_w=2**0.5, depth=10, width=100).relative_variance, 1)
    24.5
    """
    _check(sigma_w, depth, weights)
    if width is not None and width < 1:
        raise ValueError(not_allowed("width", "is a number of units and must be >= 1", width))
    m = moments(activation(phi), q)
    mean = (sigma_w**2 * m.derivative_second) ** depth
    if width is None:
        relative = depth * (m.derivative_kappa + (1 if weights == "gaussian" else 0))
    else:
        relative = _relative_at_width(m.derivative_kappa, depth, weights, width)
    return Spectrum(mean=mean, variance=relative * mean**2, relative_variance=relative)


def _relative_at_width(kappa: float, depth: int, weights: Weights, n: int) -> float:
    """E[tr A^2]/N - 1 of A = JJ^T with E[tr A]/N = 1, layer by layer: A -> D W A W^T D.

    With G = W A W^T, second = E[tr G^2]/N, trace = E[(tr G)^2]/N^2 and diagonal = E[sum G_ii^2]/N follow from A by the
    fourth moments of W's entries; independent D^2 of mean 1 and variance kappa then add to the diagonal alone.
    """
    second = trace = 1.0
    for _ in range(depth):
        if weights == "gaussian":
            diagonal = trace + 2 * second / n
            second, trace = (1 + 1 / n) * second + trace, trace + 2 * second / n**2
        else:
            diagonal = (2 * second + n * trace) / (n + 2)
        second, trace = second + kappa * diagonal, trace + kappa * diagonal / n
    return second - 1


def _check(sigma_w: float, depth: int, weights: str) -> None:
    check_scales(sigma_w, 0.0)
    if depth < 1:
        raise ValueError(not_allowed("depth", "is a number of layers and must be >= 1", depth))
    if weights not in ("gaussian", "orthogonal"):
        raise ValueError(unknown_name("weights", weights, ("gaussian", "orthogonal")))


@dataclass(frozen=True, kw_only=True)
class Density:
    """The density of squared singular values, and its atoms.

    Attributes:
        value: squared singular values, rising.
        density: at each of them; it integrates to 1 less the atoms.
        at_zero: share of singular values that are 0.
        at_top: share that stands at `edge` itself (orthogonal weights, few inactive units).
        edge: the largest squared singular value.
    """

    value: Array
    density: Array
    at_zero: float
    at_top: float
    edge: float


def linear_share(phi: Spec, q: float) -> float:
    """Return p, the share of units with slope 1, for an activation whose slope is 0 or 1 almost everywhere.

    Raises:
        ValueError: for any other activation: its density has no closed S-transform here.

    >>> linear_share("relu", 1.0), linear_share("identity", 1.0)
    (0.5, 1.0)
    """
    entry = activation(phi)
    slopes = entry.derivative(np.linspace(-20.0, 20.0, 4001))
    if not np.isin(slopes, (0.0, 1.0)).all():
        raise ValueError(not_allowed("activation", "must have slopes 0 and 1 only, as ReLU and hardtanh", str(entry)))
    return round(moments(entry, q).derivative_mean, 15)


def jacobian_density(
    phi: Spec, *, q: float, sigma_w: float, depth: int, weights: Weights = "gaussian", points: int = 400
) -> Density:
    """Return the whole density of squared singular values for linear, ReLU, ReLU6 and hard-tanh networks.

    On the support z = (1 + m)/(m S(m)) is real while m = r e^(i beta) is not: for each beta in (0, pi) its phase
    vanishes at certain r; z and the density Im(m)/(pi z) follow.

    Args:
        phi: an activation whose slope is 0 or 1.
        q: variance of the pre-activations.
        sigma_w: the weights' scale.
        depth: layers L, >= 1.
        weights: "gaussian" or "orthogonal".
        points: number of values of beta.

    References: Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid", 2017, section 2.5; Penson and
        Zyczkowski, 2011 (Fuss-Catalan).

    >>> round(jacobian_density("identity", q=1.0, sigma_w=1.0, depth=2).edge, 6)
    6.75
    """
    _check(sigma_w, depth, weights)
    p, g = linear_share(phi, q), 1 if weights == "gaussian" else 0
    top = max(0.0, depth * p - (depth - 1)) if not g else 0.0
    scale = sigma_w ** (2 * depth)
    if p == 0:
        return Density(value=np.empty(0), density=np.empty(0), at_zero=1.0, at_top=0.0, edge=0.0)
    m = _on_support(p, g, depth, points)
    z = scale * np.real((1 + m) ** (1 - (1 - g) * depth) * ((m + p) ** depth) / m)
    m, z = m[z > 1e-290], z[z > 1e-290]  # what a double cannot hold is left out of the plot, not of `at_zero`
    order = np.argsort(z)
    edge = scale if top else _edge(p, g, depth) * scale
    return Density(
        value=z[order], density=(np.abs(m.imag) / (math.pi * z))[order], at_zero=1 - p, at_top=top, edge=edge
    )


def _phase(r: Array, beta: Array, p: float, g: int, depth: int) -> Array:
    m = r * np.exp(1j * beta)
    turns = 1 - (1 - g) * depth
    return np.asarray(turns * np.angle(1 + m) + depth * np.angle(m + p) - beta)


def _on_support(p: float, g: int, depth: int, points: int) -> np.ndarray:
    """Values of m = r e^(i beta), at each angle those r at which the phase of z vanishes."""
    # Angles crowd at both ends, where the density has its edges.
    beta = math.pi * (0.5 - 0.5 * np.cos(np.pi * (np.arange(points) + 0.5) / points))
    grid = np.concatenate([np.geomspace(1e-9, 30, 360), np.geomspace(32, 1e9, 60)])
    phases = _phase(grid[None, :], beta[:, None], p, g, depth)
    phases[np.abs(phases) < 1e-12] = 0  # as m grows the phase may vanish as 1/r: no root, but rounding
    row, first = np.nonzero(phases[:, :-1] * phases[:, 1:] < 0)
    beta, low, high, rising = beta[row], grid[first], grid[first + 1], phases[row, first] < 0
    for _ in range(60):
        middle = np.sqrt(low * high)
        below = (_phase(middle, beta, p, g, depth) < 0) == rising
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(np.sqrt(low * high) * np.exp(1j * beta))


def _edge(p: float, g: int, depth: int) -> float:
    """The largest z: the minimum over m > 0 of (1 + m)^(1 - (1-g) L) (m + p)^L / m."""
    log_m = np.linspace(-25, 25, 4001)
    for _ in range(3):
        m = np.exp(log_m)
        z = (1 - (1 - g) * depth) * np.log1p(m) + depth * np.log(m + p) - log_m
        best = int(np.argmin(z))
        log_m = np.linspace(log_m[max(best - 1, 0)], log_m[min(best + 1, log_m.size - 1)], 4001)
    return math.exp(float(z[best]))


@dataclass(frozen=True, kw_only=True)
class Isometry:
    """Whether all singular values of J can stay near 1 at any depth.

    Attributes:
        reachable: whether relative_variance can be made small at chi_1 = 1.
        message: how, or why not.
    """

    reachable: bool
    message: str


def dynamical_isometry(phi: Spec, *, weights: Weights = "orthogonal") -> Isometry:
    """Return whether a network of this activation can reach dynamical isometry.

    It can where the weights are orthogonal and mu_2/mu_1^2 -> 1 as q* -> 0: an activation that is smooth at 0 with a
    slope there. Gaussian weights add L to the relative variance, a kink at 0 keeps it of order L at any q*.

    References: Pennington, Schoenholz and Ganguli, 2017, section 3; 2018, section 4.

    >>> dynamical_isometry("tanh").reachable, dynamical_isometry("relu").reachable
    (True, False)
    """
    _check(1.0, 1, weights)
    entry = activation(phi)
    if weights == "gaussian":
        return Isometry(reachable=False, message="cannot: Gaussian weights alone spread the spectrum by L.")
    m = moments(entry, 1e-8)
    if m.derivative_second == 0 or m.derivative_kappa > 1e-3:
        return Isometry(
            reachable=False,
            message=f"cannot: mu_2/mu_1^2 - 1 stays {m.derivative_kappa:.3g} as q* -> 0, so the spectrum spreads by L.",
        )
    if m.second > 1e-4 * m.derivative_second:
        return Isometry(reachable=False, message="cannot: phi(0) is not 0, so q* cannot be made small at chi_1 = 1.")
    return Isometry(reachable=True, message="can: orthogonal weights, chi_1 = 1, and q* of order 1/L or below.")
