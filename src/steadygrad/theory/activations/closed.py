"""Closed forms of correlation maps, written in the gap t = 1 - c so that no digit is lost as c -> 1.

With theta = arccos c the angle of two inputs: t = 2 sin^2(theta / 2), so theta = 2 asin(sqrt(t / 2)) is exact for
the smallest t. Cho and Saul, "Kernel methods for deep learning", 2009, eq. 1 to 6; Williams, "Computing with infinite
networks", 1997, eq. 11; Daniely, Frostig and Singer, 2016, section 8.
"""

from __future__ import annotations

import math

import numpy as np

from .activation import Array, ClosedForms

_SERIES = [(-1) ** k * (2 * k + 2) / math.factorial(2 * k + 3) for k in range(7)]


def angle(gap: Array) -> Array:
    """Return theta = arccos(1 - gap) without loss of digits at either end.

    >>> float(angle(np.array(2e-30)))
    2e-15
    """
    if (gap <= 1).all():
        return np.asarray(2 * np.arcsin(np.sqrt(gap * 0.5)))
    near = 2 * np.arcsin(np.sqrt(np.minimum(gap, 1.0) * 0.5))
    return np.where(gap <= 1, near, math.pi - 2 * np.arcsin(np.sqrt(np.maximum(2 - gap, 0.0) * 0.5)))


def sine_less_chord(theta: Array) -> Array:
    """Return sin(theta) - theta cos(theta), by its series theta^3/3 - theta^5/30 + ... below 1/4.

    Above, the difference is good to eps theta, against t = theta^2/2 whose part it is.

    >>> float(sine_less_chord(np.array(1e-8)))
    3.3333333333333335e-25
    """
    small = theta < 0.25
    if small.all():
        return _series(theta)
    far = np.sin(theta) - theta * np.cos(theta)
    return np.where(small, _series(np.minimum(theta, 0.25)), far) if small.any() else far


def _series(theta: Array) -> Array:
    square = theta * theta
    total = np.full_like(square, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        total = total * square + coefficient
    return np.asarray(total * square * theta)


def leaky(slope: float) -> ClosedForms:
    """Return the maps of phi(u) = u for u > 0 and slope u below: (1 + a)/2 u + (1 - a)/2 |u|.

    1 - C = t - (1-a)^2 / (1+a^2) (sin theta - theta cos theta) / pi; the derivative's gap is
    (1-a)^2 / (1+a^2) theta / pi. a = 0 is ReLU, a = 1 the identity, a = -1 the absolute value.
    """
    norm = 1 + slope**2
    bend, odd = (1 - slope) ** 2 / norm / math.pi, ((1 - slope**2) / norm) ** 2

    def gap(_q: float, t: Array) -> Array:
        return t - bend * sine_less_chord(angle(t))

    def derivative_gap(_q: float, t: Array) -> Array:
        return bend * angle(t)

    def square(_q: float, t: Array) -> Array:
        c = 1 - t
        arc = (1 + 2 * c**2) * (math.pi / 2 - angle(t)) + 3 * c * np.sqrt(t * (2 - t))
        return 2 * c**2 + odd * 2 / math.pi * arc

    def derivative_square(_q: float, t: Array) -> Array:
        return odd * (1 - 2 / math.pi * angle(t))

    return ClosedForms(gap=gap, derivative_gap=derivative_gap, square=square, derivative_square=derivative_square)


def erf() -> ClosedForms:
    """Return the maps of erf: E[phi phi] = (2/pi) asin(r c) with r = 2q/(1+2q)."""

    def gap(q: float, t: Array) -> Array:
        a, b = 2 * q / (1 + 2 * q), 2 * q / (1 + 2 * q) * (1 - t)
        cos_a = math.sqrt(1 + 4 * q) / (1 + 2 * q)
        cos_b = np.sqrt(cos_a**2 + a**2 * t * (2 - t))
        # asin a - asin b = atan2 of the sine and cosine of the difference; a^2 - b^2 is written in t.
        near = a**2 * t * (2 - t) / (a * cos_b + np.maximum(b, 0) * cos_a)
        sine = np.where(t < 1, near, a * cos_b - b * cos_a)
        return np.arctan2(sine, cos_a * cos_b + a * b) / math.asin(a)

    def derivative_gap(q: float, t: Array) -> Array:
        return -np.expm1(-0.5 * np.log1p(4 * q**2 * t * (2 - t) / (1 + 4 * q)))

    def derivative_square(q: float, t: Array) -> Array:
        # E[exp(-2u^2 - 2v^2)] over E[exp(-2u^2)]^2: the same Gaussian integral at twice the exponent.
        r = (4 * q / (1 + 4 * q) * (1 - t)) ** 2
        return np.expm1(-0.5 * np.log1p(-r))

    return ClosedForms(gap=gap, derivative_gap=derivative_gap, derivative_square=derivative_square)


def sine() -> ClosedForms:
    """Return the maps of sin: E[phi phi] = exp(-q) sinh(q c), E[phi' phi'] = exp(-q) cosh(q c)."""

    def gap(q: float, t: Array) -> Array:
        return np.asarray(-np.expm1(-q * t) * (1 + np.exp(-q * (2 - t))) / -math.expm1(-2 * q))

    def derivative_gap(q: float, t: Array) -> Array:
        return np.expm1(-q * t) * np.expm1(-q * (2 - t)) / (1 + math.exp(-2 * q))

    return ClosedForms(gap=gap, derivative_gap=derivative_gap)


def exponential() -> ClosedForms:
    """Return the maps of exp: E[phi phi] = exp(q (1 + c))."""

    def gap(q: float, t: Array) -> Array:
        return -np.expm1(-q * t)

    def square(q: float, t: Array) -> Array:
        return np.expm1(4 * q * (1 - t))

    def power_mean(q: float, mean: float, k: int) -> float:
        exponent = k * mean + k * k * q / 2
        return math.exp(exponent) if exponent < 709.7 else math.inf

    return ClosedForms(gap=gap, derivative_gap=gap, square=square, derivative_square=square, power_mean=power_mean)


def cosine() -> ClosedForms:
    """Return the maps of cos: those of sin with the function and its derivative exchanged."""
    of_sine = sine()
    return ClosedForms(gap=of_sine.derivative_gap, derivative_gap=of_sine.gap)
