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
from .angle_grid import AngleGrid
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


def normalised_gap(f: Piecewise, q: float, grid: AngleGrid) -> Array:
    """Return (1 - C) / theta^power at the nodes of each panel, E[f^2] taken from the grid.

    Args:
        f: the function; `suits(f, q)` holds.
        q: variance.
        grid: panels of angles; its `power` is 1 where f jumps, else 2.
    """
    return np.asarray(_lost(f, q, grid) / second_moment(f, q) / grid.nodes**grid.power)


def second_moment(f: Piecewise, q: float) -> float:
    """Return E[f^2] at variance q."""
    return float(f.square().mean(np.array([0.0]), np.array([math.sqrt(q)]))[0])


def _lost(f: Piecewise, q: float, grid: AngleGrid) -> Array:
    """A(0) - A(theta) of f at the nodes of each panel."""
    theta = grid.nodes
    if f.flat and not f.exponentials:
        return np.zeros_like(theta)
    below = f.derivative()
    if below.flat and not below.exponentials:
        kept = np.zeros_like(theta)
    elif below.flat:
        kept = _exponentials(below, q, theta)
    else:
        kept = second_moment(below, q) - _lost(below, q, grid)
    return grid.integrate(q * np.sin(theta) * kept + _from_jumps(f, below, q, theta))


def _from_jumps(f: Piecewise, below: Piecewise, q: float, theta: Array) -> Array:
    jumping = [(k, jump) for k, jump in zip(f.kinks, f.jumps().tolist(), strict=True) if jump]
    sine, cosine = np.sin(theta), np.cos(theta)
    sd, out = math.sqrt(q), np.zeros_like(theta)
    if not below.flat or below.exponentials:
        for k, jump in jumping:
            density = math.exp(-k * k / (2 * q)) / (sd * math.sqrt(2 * math.pi))
            out += 2 * q * jump * density * sine * below.mean(k * cosine, sd * sine)
    half_sine, spread = 2 * np.sin(theta / 2) ** 2, -0.5 / (q * sine**2)
    for i, (a, first) in enumerate(jumping):
        for j, (b, second) in enumerate(jumping[: i + 1]):
            # a^2 - 2ab cos + b^2 = (a - b)^2 + 2ab (1 - cos), without cancellation at a = b.
            joint = np.exp(((a - b) ** 2 + 2 * a * b * half_sine) * spread)
            out += first * second / (2 * math.pi if i == j else math.pi) * joint
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
