"""An activation's derivative as a sum of Gaussians and error functions, whose Hermite coefficients are closed.

The even part of phi' is fitted by w_0 + sum w_k exp(-a_k u^2 / 2), the odd part by sum v_k erf(u sqrt(a_k / 2)) and,
where phi' jumps, sign u, on a fixed geometric grid of a. Much of the catalogue is such a mixture exactly: the
logistic density, exp(-|u|) and (1 + |u|)^-2 are scale mixtures of normal densities (Andrews and Mallows, 1974), and a
geometric grid sums their integral over a with an error that falls as exp(-pi^2 / step). Least squares finds the
weights; the fit is measured at points of its own, and an activation that it does not hold is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import erf

from .activations import Activation
from .activations.activation import Array

# (step of ln a, smallest a, largest a). Behind a kink at 0 phi' bends at every scale.
_SMOOTH = ((0.2, 1e-4, 1e3), (0.12, 1e-3, 1e2))
_KINKED = ((0.35, 1e-9, 1e24),)
LARGEST_ERROR = 1e-11
_NEGLIGIBLE = 1e-17


@dataclass(frozen=True)
class Mixture:
    """phi' = constant + sum w_k exp(-a_k u^2 / 2) + sum v_k erf(u sqrt(a_k / 2)) + sign * sign(u).

    Attributes:
        rates: a.
        constant: the weight of 1.
        even: w.
        odd: v.
        sign: the weight of sign(u).
        kinked: whether phi' or its derivative jumps at 0.
        error: the largest deviation from phi' that was found.
    """

    rates: Array
    constant: float
    even: Array
    odd: Array
    sign: float
    kinked: bool
    error: float


@lru_cache(maxsize=256)
def gaussian_mixture(entry: Activation) -> Mixture | None:
    """Return phi' as a mixture, or None where it has kinks off 0, jumps, or does not fit to 1e-11.

    Args:
        entry: the activation; its phi' is bounded for |u| <= 2000.

    >>> from steadygrad.theory import activation
    >>> gaussian_mixture(activation("tanh")).error < 1e-13
    True
    """
    if any(entry.kinks) or entry.jumps or entry.growth or math.isfinite(entry.longest):
        return None
    for step, low, high in _KINKED if entry.kinks else _SMOOTH:
        found = _fitted(entry, step, low, high)
        if found.error <= LARGEST_ERROR:
            return found
    return None


def _fitted(entry: Activation, step: float, low: float, high: float) -> Mixture:
    a = np.exp(np.arange(math.log(low), math.log(high), step))
    smallest = 1e-12 if entry.kinks else 1e-3
    train = np.concatenate([np.geomspace(smallest, 2e3, 500), np.linspace(0.01, 40, 400)])
    check = np.concatenate([np.geomspace(smallest / 10, 1.9e3, 233), np.linspace(0.013, 39, 371)])
    even, odd = _parts(entry, train)
    w = np.linalg.lstsq(_gaussians(a, train), even, rcond=1e-15)[0]
    v = np.zeros(a.size + 1)
    if odd.any():
        jump = 0 if entry.corners else 1  # sign u only where phi' jumps
        v[jump:] = np.linalg.lstsq(_steps(a, train)[:, jump:], odd, rcond=1e-15)[0]
    points = np.concatenate([train, check])
    even, odd = _parts(entry, points)
    error = max(np.abs(_gaussians(a, points) @ w - even).max(), np.abs(_steps(a, points) @ v - odd).max())
    used = np.abs(w[1:]) + np.abs(v[1:]) > _NEGLIGIBLE
    return Mixture(a[used], float(w[0]), w[1:][used], v[1:][used], float(v[0]), bool(entry.kinks), float(error))


def _parts(entry: Activation, u: Array) -> tuple[Array, Array]:
    right, left = entry.derivative(u), entry.derivative(-u)
    return (right + left) / 2, (right - left) / 2


def _gaussians(a: Array, u: Array) -> Array:
    return np.concatenate([np.ones((u.size, 1)), np.exp(-0.5 * (u * u)[:, None] * a)], axis=1)


def _steps(a: Array, u: Array) -> Array:
    return np.concatenate([np.ones((u.size, 1)), erf(np.sqrt(a / 2) * u[:, None])], axis=1)
