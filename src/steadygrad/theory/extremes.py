"""Moments at variances beyond any that a working network has, by the activation's power law out there."""

from __future__ import annotations

import math
from dataclasses import replace

from .activations import Activation
from .moments import Moments, moments

SMALLEST, LARGEST = 1e-24, 1e10


def moments_anywhere(entry: Activation, q: float) -> tuple[Moments, Moments, float]:
    """Return the moments at any q >= 0, those at the nearest variance within [1e-24, 1e10], and that variance.

    The correlation map and ratios of moments (kappa, stability) at that variance stand for those at q.

    Every activation of the catalogue but exp, sin and cos behaves as |u|^p towards 0 and towards infinity, one p for
    each end: E[phi^2] then goes as q^p with p = d ln E[phi^2] / d ln q. Within the range nothing is approximated;
    beyond it the deviation is of relative order 1e-5 and less.

    >>> from steadygrad.theory import activation
    >>> m, _, inside = moments_anywhere(activation("gelu"), 1e20)
    >>> round(m.second / 1e20, 6), inside
    (0.5, 10000000000.0)
    """
    inside = min(max(q, SMALLEST), LARGEST)
    if q in (0.0, inside) or entry.name == "exp":
        m = moments(entry, q)
        return m, m, q
    m = moments(entry, inside)
    if m.second == 0:
        return m, m, inside
    power = round(m.tilt / (2 * m.second))
    return _scaled(m, q / inside, power), m, inside


def _scaled(m: Moments, ratio: float, power: int) -> Moments:
    forward, backward = _power(ratio, power), _power(ratio, power - 1) if power else 1 / ratio
    return replace(
        m,
        mean=m.mean * math.sqrt(forward),
        second=m.second * forward,
        fourth=m.fourth * _power(ratio, 2 * power),
        derivative_second=m.derivative_second * backward,
        derivative_fourth=m.derivative_fourth * (backward * backward),
        tilt=m.tilt * forward,
    )


def _power(ratio: float, power: int) -> float:
    exponent = power * math.log(ratio)
    return math.exp(exponent) if exponent < 709 else math.inf
