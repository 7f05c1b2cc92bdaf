"""The smooth activations: analytic functions and their derivatives, stable for arguments of any size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import erf as _erf
from scipy.special import expit, log_expit, ndtr

from . import closed
from .activation import Activation, Array

_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715


def identity() -> Activation:
    """Return phi(u) = u."""
    return Activation(name="identity", phi=np.positive, derivative=np.ones_like, closed=closed.leaky(1.0))


def tanh() -> Activation:
    """Return phi(u) = tanh u; its poles stand at +-i pi/2."""
    return Activation(name="tanh", phi=np.tanh, derivative=_sech_squared, scale=1.5)


def _sech_squared(u: Array) -> Array:
    # 1 - tanh^2 cancels in the tails; 4 e / (1 + e)^2 with e = exp(-2|u|) does not.
    e = np.exp(-2 * np.abs(u))
    return np.asarray(4 * e / (1 + e) ** 2)


def sigmoid() -> Activation:
    """Return phi(u) = 1 / (1 + exp(-u))."""
    return Activation(name="sigmoid", phi=expit, derivative=_sigmoid_slope, scale=3.0)


def _sigmoid_slope(u: Array) -> Array:
    return expit(u) * expit(-u)


def erf() -> Activation:
    """Return phi(u) = erf u = 2/sqrt(pi) int_0^u exp(-x^2) dx."""
    slope = 2 / math.sqrt(math.pi)
    return Activation(name="erf", phi=_erf, derivative=lambda u: slope * np.exp(-u * u), closed=closed.erf())


def softplus(*, beta: float = 1.0) -> Activation:
    """Return phi(u) = log(1 + exp(beta u)) / beta."""
    return Activation(
        name="softplus",
        parameters=(("beta", beta),),
        phi=lambda u: -log_expit(-beta * u) / beta,
        derivative=lambda u: expit(beta * u),
        scale=3.0 / beta,
    )


def logsigmoid() -> Activation:
    """Return phi(u) = log sigmoid(u)."""
    return Activation(name="logsigmoid", phi=log_expit, derivative=lambda u: expit(-u), scale=3.0)


def silu() -> Activation:
    """Return phi(u) = u sigmoid(u), also called swish."""
    return Activation(name="silu", phi=lambda u: u * expit(u), derivative=_silu_slope, scale=3.0)


def _silu_slope(u: Array) -> Array:
    s = expit(u)
    return s * (1 + u * expit(-u))


def gelu(*, approximate: str = "none") -> Activation:
    """Return phi(u) = u Phi(u), or its tanh approximation.

    The approximation is u/2 (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))). Hendrycks and Gimpel, 2016.
    """
    exact = approximate == "none"
    phi, slope = (_gelu, _gelu_slope) if exact else (_gelu_tanh, _gelu_tanh_slope)
    scale = 1.5 if exact else 1.2
    return Activation(name="gelu", parameters=(("approximate", approximate),), phi=phi, derivative=slope, scale=scale)


def _gelu(u: Array) -> Array:
    return u * ndtr(u)


def _gelu_slope(u: Array) -> Array:
    return ndtr(u) + u * (_INV_SQRT_2PI * np.exp(-0.5 * u * u))


def _gelu_inner(u: Array) -> Array:
    return 2 * _SQRT_2_OVER_PI * u * (1 + _GELU_CUBIC * u * u)


def _gelu_tanh(u: Array) -> Array:
    return u * expit(_gelu_inner(u))  # (1 + tanh x) / 2 is sigmoid(2x), which keeps its digits in the left tail


def _gelu_tanh_slope(u: Array) -> Array:
    x = _gelu_inner(u)
    inner_slope = 2 * _SQRT_2_OVER_PI * (1 + 3 * _GELU_CUBIC * u * u)
    return np.asarray(expit(x) * (1 + u * expit(-x) * inner_slope))


def mish() -> Activation:
    """Return phi(u) = u tanh(softplus(u)), with tanh(softplus(u)) = n / (n + 2), n = e^u (e^u + 2)."""
    return Activation(name="mish", phi=lambda u: u * _mish_gate(u), derivative=_mish_slope, scale=2.0)


def _mish_gate(u: Array) -> Array:
    return _mish_gate_of(u, np.exp(-np.abs(u)))


def _mish_gate_of(u: Array, e: Array) -> Array:
    """Return n / (n + 2), n = e^u (e^u + 2), from e = exp(-abs(u)), which never overflows."""
    square = e * e
    n = np.where(u > 0, 1 + 2 * e, square + 2 * e)
    return np.asarray(n / (n + 2 * np.where(u > 0, square, 1.0)))


def _mish_slope(u: Array) -> Array:
    e = np.exp(-np.abs(u))
    # d gate / du = 4 x (1 + x) / (2 + 2x + x^2)^2 with x = e^u, written in exp(-|u|) on either side.
    positive, square = u > 0, e * e
    below = np.where(positive, 1 + 2 * e + 2 * square, 2 + 2 * e + square)
    rise = 4 * e * np.where(positive, e, 1.0) * (1 + e) / (below * below)
    return np.asarray(_mish_gate_of(u, e) + u * rise)


def tanhshrink() -> Activation:
    """Return phi(u) = u - tanh u."""
    return Activation(name="tanhshrink", phi=_tanhshrink, derivative=lambda u: np.tanh(u) ** 2, scale=1.5)


def _tanhshrink(u: Array) -> Array:
    # Below 1/4 the difference cancels; there u - tanh u = u^3/3 - 2u^5/15 + ... (Bernoulli numbers).
    out = np.asarray(u - np.tanh(u))
    small = np.abs(u) < 0.25
    x = u[small]
    out[small] = x**3 * np.polynomial.polynomial.polyval(x * x, _TANHSHRINK)
    return out


def _tanh_coefficients(count: int) -> list[float]:
    """Taylor coefficients of tanh at x, x^3, ...: from tanh' = 1 - tanh^2."""
    a = [0.0] * (2 * count + 2)
    a[1] = 1.0
    for n in range(2, 2 * count + 1):
        a[n + 1] = -sum(a[i] * a[n - i] for i in range(n + 1)) / (n + 1)
    return a[1::2]


_TANHSHRINK = [-x for x in _tanh_coefficients(14)[1:]]


def sin() -> Activation:
    """Return phi(u) = sin u."""
    return Activation(name="sin", phi=np.sin, derivative=np.cos, scale=2.0, longest=4.0, closed=closed.sine())


def cos() -> Activation:
    """Return phi(u) = cos u."""
    return Activation(
        name="cos", phi=np.cos, derivative=lambda u: -np.sin(u), scale=2.0, longest=4.0, closed=closed.cosine()
    )


def exp() -> Activation:
    """Return the exponential, whose moments are e to k^2 q / 2: inf where a double cannot hold them."""
    return Activation(name="exp", phi=np.exp, derivative=np.exp, growth=1.0, longest=1.0, closed=closed.exponential())


def square() -> Activation:
    """Return phi(u) = u^2."""
    return Activation(name="square", phi=np.square, derivative=lambda u: 2 * u)


SMOOTH: dict[str, Callable[..., Activation]] = {
    entry.__name__: entry
    for entry in (
        identity,
        tanh,
        sigmoid,
        erf,
        softplus,
        logsigmoid,
        silu,
        gelu,
        mish,
        tanhshrink,
        sin,
        cos,
        exp,
        square,
    )
}
