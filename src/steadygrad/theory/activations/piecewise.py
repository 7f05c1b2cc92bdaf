"""The activations with kinks: pieces that are smooth, joined where a derivative jumps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import closed
from .activation import Activation, Array

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def relu() -> Activation:
    """Return phi(u) = max(u, 0)."""
    return Activation(
        name="relu",
        phi=lambda u: np.maximum(u, 0.0),
        derivative=lambda u: (u > 0).astype(np.float64),
        kinks=(0.0,),
        corners=(0.0,),
        closed=closed.leaky(0.0),
    )


def leaky_relu(*, negative_slope: float = 0.01) -> Activation:
    """Return phi(u) = u above 0 and negative_slope u below. Maas, Hannun and Ng, 2013."""
    return _leaky("leaky_relu", "negative_slope", negative_slope)


def prelu(*, init: float = 0.25) -> Activation:
    """Return phi(u) = u above 0 and init u below, the slope before it is trained. He et al., 2015, eq. 1."""
    return _leaky("prelu", "init", init)


def rrelu(*, lower: float = 1 / 8, upper: float = 1 / 3) -> Activation:
    """Return RReLU as it is in evaluation: the slope below 0 is the mean of `lower` and `upper`."""
    made = _leaky("rrelu", "lower", (lower + upper) / 2)
    return Activation(
        name="rrelu",
        parameters=(("lower", lower), ("upper", upper)),
        phi=made.phi,
        derivative=made.derivative,
        kinks=(0.0,),
        corners=(0.0,),
        closed=made.closed,
    )


def abs() -> Activation:  # the activation's own name
    """Return phi(u) = |u|."""
    return Activation(
        name="abs", phi=np.abs, derivative=np.sign, kinks=(0.0,), corners=(0.0,), closed=closed.leaky(-1.0)
    )


def _leaky(name: str, parameter: str, slope: float) -> Activation:
    return Activation(
        name=name,
        parameters=((parameter, slope),),
        phi=lambda u: np.where(u > 0, u, slope * u),
        derivative=lambda u: np.where(u > 0, 1.0, slope),
        kinks=(0.0,),
        corners=(0.0,),
        closed=closed.leaky(slope),
    )


def elu(*, alpha: float = 1.0) -> Activation:
    """Return phi(u) = u above 0 and alpha (e^u - 1) below. Clevert, Unterthiner and Hochreiter, 2015."""
    return _exponential("elu", (("alpha", alpha),), 1.0, alpha, 1.0)


def celu(*, alpha: float = 1.0) -> Activation:
    """Return phi(u) = u above 0 and alpha (e^(u/alpha) - 1) below. Barron, 2017."""
    return _exponential("celu", (("alpha", alpha),), 1.0, alpha, 1 / alpha)


def selu() -> Activation:
    """Return phi(u) = scale (u above 0, alpha (e^u - 1) below). Klambauer et al., 2017, eq. 2."""
    return _exponential("selu", (), SELU_SCALE, SELU_SCALE * SELU_ALPHA, 1.0)


def _exponential(
    name: str, parameters: tuple[tuple[str, float | str], ...], above: float, below: float, rate: float
) -> Activation:
    def slope(u: Array) -> Array:
        return np.where(u > 0, above, below * rate * np.exp(rate * np.minimum(u, 0.0)))

    return Activation(
        name=name,
        parameters=parameters,
        phi=lambda u: np.where(u > 0, above * u, below * np.expm1(rate * np.minimum(u, 0.0))),
        derivative=slope,
        kinks=(0.0,),
        corners=() if math.isclose(above, below * rate) else (0.0,),
        scale=1.5 / rate,
    )


def softsign() -> Activation:
    """Return phi(u) = u / (1 + |u|); its second derivative jumps at 0."""
    return Activation(
        name="softsign",
        phi=lambda u: u / (1 + np.abs(u)),
        derivative=lambda u: (1 + np.abs(u)) ** -2.0,
        kinks=(0.0,),
        scale=0.9,
    )


def hardtanh(*, min_val: float = -1.0, max_val: float = 1.0) -> Activation:
    """Return phi(u) = u clipped to [min_val, max_val]."""
    return _clipped("hardtanh", (("max_val", max_val), ("min_val", min_val)), min_val, max_val)


def relu6() -> Activation:
    """Return phi(u) = u clipped to [0, 6]."""
    return _clipped("relu6", (), 0.0, 6.0)


def _clipped(name: str, parameters: tuple[tuple[str, float | str], ...], low: float, high: float) -> Activation:
    return Activation(
        name=name,
        parameters=parameters,
        phi=lambda u: np.minimum(np.maximum(u, low), high),
        derivative=lambda u: ((u > low) & (u < high)).astype(np.float64),
        kinks=(low, high),
        corners=(low, high),
    )


def hardsigmoid() -> Activation:
    """Return phi(u) = u/6 + 1/2 clipped to [0, 1]."""
    return Activation(
        name="hardsigmoid",
        phi=lambda u: np.clip(u / 6 + 0.5, 0.0, 1.0),
        derivative=lambda u: (np.abs(u) < 3) / 6.0,
        kinks=(-3.0, 3.0),
        corners=(-3.0, 3.0),
    )


def hardswish() -> Activation:
    """Return phi(u) = u hardsigmoid(u)."""
    return Activation(
        name="hardswish",
        phi=lambda u: u * np.clip(u / 6 + 0.5, 0.0, 1.0),
        derivative=lambda u: np.where(u >= 3, 1.0, np.where(u > -3, u / 3 + 0.5, 0.0)),
        kinks=(-3.0, 3.0),
        corners=(-3.0, 3.0),
    )


def softshrink(*, lambd: float = 0.5) -> Activation:
    """Return phi(u) = u moved towards 0 by lambd, and 0 within it."""
    return Activation(
        name="softshrink",
        parameters=(("lambd", lambd),),
        phi=lambda u: u - np.clip(u, -lambd, lambd),
        derivative=lambda u: (np.abs(u) > lambd).astype(np.float64),
        kinks=(-lambd, lambd) if lambd else (),
        corners=(-lambd, lambd) if lambd else (),
    )


def hardshrink(*, lambd: float = 0.5) -> Activation:
    """Return phi(u) = u where |u| > lambd, 0 within."""
    return Activation(
        name="hardshrink",
        parameters=(("lambd", lambd),),
        phi=lambda u: np.where(np.abs(u) > lambd, u, 0.0),
        derivative=lambda u: (np.abs(u) > lambd).astype(np.float64),
        kinks=(-lambd, lambd) if lambd else (),
        jumps=(-lambd, lambd) if lambd else (),
        corners=(-lambd, lambd) if lambd else (),
    )


def threshold(*, threshold: float = 0.0, value: float = 0.0) -> Activation:
    """Return phi(u) = u above `threshold`, `value` elsewhere."""
    return Activation(
        name="threshold",
        parameters=(("threshold", threshold), ("value", value)),
        phi=lambda u: np.where(u > threshold, u, value),
        derivative=lambda u: (u > threshold).astype(np.float64),
        kinks=(threshold,),
        jumps=(threshold,) if threshold != value else (),
        corners=(threshold,),
    )


PIECEWISE: dict[str, Callable[..., Activation]] = {
    entry.__name__: entry
    for entry in (
        relu,
        leaky_relu,
        prelu,
        rrelu,
        abs,
        elu,
        celu,
        selu,
        softsign,
        hardtanh,
        relu6,
        hardsigmoid,
        hardswish,
        softshrink,
        hardshrink,
        threshold,
    )
}
