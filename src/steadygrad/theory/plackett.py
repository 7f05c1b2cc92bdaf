"""The gap map of piecewise polynomial functions by integration over the angle, at a few microseconds a node.

Let A_k(theta) = E[f_k(u) f_k(v)] for the k-th derivative f_k between the kinks of f, with jumps J_k at the kinks.
Price's theorem, with the jumps' delta functions written out, gives

    -dA_k/dtheta = q sin(theta) A_{k+1} + 2 q sin(theta) sum_j J_j p(k_j) E[f_{k+1}(v) | u = k_j]
                   + sum_{ij} J_i J_j exp(-(k_i^2 - 2 k_i k_j cos(theta) + k_j^2) / (2 q sin(theta)^2)) / (2 pi),

and at some k nothing, or exponentials of closed mean, is left. 1 - C is the integral of the first. Integrals from 0
are taken as those of f(theta y) over y in [0, 1], which keeps relative digits at the smallest angle. Price 1958;
Plackett, "A reduction formula for normal multivariate integrals", 1954, eq. 3.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, owens_t

from .activations.activation import Array
from .angle_grid import POINTS, AngleGrid
from .piecewise import Piecewise

# Of r sqrt(q): above, the orthant probability cancels; below, the exponential against its own first terms.
LARGEST_TILT = 3.0
SMALLEST_TILT = {False: 3e-3, True: 0.1}
# Of sqrt(q) over the largest kink: above, a square between the kinks is a small difference of large hinges.
LARGEST_SPREAD = 5.0
# Kinks further out, in standard deviations, with nothing between them: hinges cancel in the tail.
DEEPEST_TAIL = 4.0


def suits(f: Piecewise, q: float, *, squared: bool) -> bool:
    """Whether the integrals of f at q keep ten digits; f is a square where `squared`."""
    sd = math.sqrt(q)
    tilts = all(SMALLEST_TILT[squared] <= r * sd <= LARGEST_TILT for _, r in f.exponentials)
    constant = all(len(p) <= 1 for p in f.polynomials)
    nearest, furthest = min(abs(k) for k in f.kinks), max(abs(k) for k in f.kinks)
    if sd * DEEPEST_TAIL < nearest and not any(f.polynomials[sum(k <= 0 for k in f.kinks)]):
        return False
    return tilts and (constant or not squared or furthest == 0 or sd <= LARGEST_SPREAD * furthest)


def normalised_gap(f: Piecewise, q: float, grid: AngleGrid) -> list[Array]:
    """Return (1 - C) / theta^power at the nodes of each panel, E[f^2] taken from the grid.

    Args:
        f: the function; `suits(f, q)` holds.
        q: variance.
        grid: panels of angles; its `power` is 1 where f jumps, else 2.
    """
    level = _lost(f, q, grid)
    norm = second_moment(f, q)
    return [g / norm / theta**grid.power for g, theta in zip(level, grid.nodes, strict=True)]


def second_moment(f: Piecewise, q: float) -> float:
    """Return E[f^2] at variance q."""
    return float(f.square().mean(np.array([0.0]), np.array([math.sqrt(q)]))[0])


def _lost(f: Piecewise, q: float, grid: AngleGrid) -> list[Array]:
    """A(0) - A(theta) of f at the nodes of each panel."""
    if f.flat and not f.exponentials:
        return [np.zeros(POINTS) for _ in grid.nodes]
    below = f.derivative()
    if below.flat and not below.exponentials:
        kept = [np.zeros(POINTS) for _ in grid.nodes]
    elif below.flat:
        kept = [_exponentials(below, q, theta) for theta in grid.nodes]
    else:
        total = second_moment(below, q)
        kept = [total - lost for lost in _lost(below, q, grid)]
    jumps = f.jumps()
    rates = [
        q * np.sin(theta) * inner + _from_jumps(f.kinks, jumps, below, q, theta)
        for theta, inner in zip(grid.nodes, kept, strict=True)
    ]
    return grid.integrate(rates)


def _from_jumps(kinks: tuple[float, ...], jumps: Array, below: Piecewise, q: float, theta: Array) -> Array:
    out = np.zeros_like(theta)
    sine, cosine = np.sin(theta), np.cos(theta)
    half_sine = 2 * np.sin(theta / 2) ** 2
    sd = math.sqrt(q)
    for i, a in enumerate(kinks):
        if not jumps[i]:
            continue
        density = math.exp(-a * a / (2 * q)) / (sd * math.sqrt(2 * math.pi))
        if not below.flat or below.exponentials:
            out += 2 * q * sine * jumps[i] * density * below.mean(a * cosine, sd * sine)
        for j, b in enumerate(kinks):
            # a^2 - 2ab cos + b^2 = (a - b)^2 + 2ab (1 - cos), without cancellation at a = b.
            exponent = ((a - b) ** 2 + 2 * a * b * half_sine) / (2 * q * sine**2)
            out += jumps[i] * jumps[j] / (2 * math.pi) * np.exp(-exponent)
    return out


def _exponentials(f: Piecewise, q: float, theta: Array) -> Array:
    """E[f(u) f(v)] for f a sum of c e^(r u) below 0: each product is an orthant probability of tilted Gaussians."""
    sd, cosine, out = math.sqrt(q), np.cos(theta), np.zeros_like(theta)
    for c, r in f.exponentials:
        for d, s in f.exponentials:
            h, k = -sd * (r + s * cosine), -sd * (s + r * cosine)
            out += c * d * np.exp(q * (r * r + s * s + 2 * r * s * cosine) / 2) * _orthant(h, k, theta)
    return out


def _orthant(h: Array, k: Array, theta: Array) -> Array:
    """P(x < h, y < k) at correlation cos(theta), by Owen's T (Owen 1956, eq. 2.1)."""
    h, k = np.where(h == 0, 1e-300, h), np.where(k == 0, 1e-300, k)
    sine, cosine = np.sin(theta), np.cos(theta)
    first = owens_t(h, (k / h - cosine) / sine)
    second = owens_t(k, (h / k - cosine) / sine)
    return np.asarray((ndtr(h) + ndtr(k)) / 2 - first - second - np.where(h * k < 0, 0.5, 0.0))
