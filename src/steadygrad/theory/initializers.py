"""Initializers as theory sees them: the variance of a weight and of a bias, from fan_in and fan_out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from steadygrad.errors import not_allowed, unknown_name

from .gain import gain as activation_gain
from .moments import Spec


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """The variances that an initializer draws with.

    Attributes:
        name: its name in `INITIALIZERS`, or "sigma_w=..., sigma_b=...".
        weight_variance: Var(w) as a function of fan_in and fan_out.
        bias_variance: Var(b) as a function of fan_in; a constant's square, where the bias is constant.
        gaussian: whether weights are normal; others have the same moments up to the second.

    >>> he = initializer("he-normal")
    >>> he.weight_variance(100, 50), he.bias_variance(100)
    (0.02, 0.0)
    """

    name: str
    weight_variance: Callable[[int, int], float]
    bias_variance: Callable[[int], float] = lambda _: 0.0
    gaussian: bool = False

    def sigma_w(self, fan_in: int, fan_out: int) -> float:
        """Return sqrt(fan_in Var(w)), the forward scale."""
        return math.sqrt(fan_in * self.weight_variance(fan_in, fan_out))

    def sigma_b(self, fan_in: int) -> float:
        """Return the bias's standard deviation."""
        return math.sqrt(self.bias_variance(fan_in))


def _fan_in(scale: float) -> Callable[[int, int], float]:
    return lambda fan_in, _: scale / fan_in


def _fan_out(scale: float) -> Callable[[int, int], float]:
    return lambda _, fan_out: scale / fan_out


def _fan_avg(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


_VARIANCES: dict[str, Callable[[int, int], float]] = {
    "xavier": _fan_avg,
    "he": _fan_in(2.0),
    "he-fan-out": _fan_out(2.0),
    "lecun": _fan_in(1.0),
    "lecun-fan-out": _fan_out(1.0),
}
_LAWS = ("normal", "uniform")

INITIALIZERS: tuple[str, ...] = (
    *(f"{family}-{law}" for family in _VARIANCES for law in _LAWS),
    "orthogonal",
    "torch-default",
    "unit-gain",
)


def initializer(
    spec: str | tuple[float, float] | Initializer, *, gain: float = 1.0, activation: Spec = "identity"
) -> Initializer:
    """Return the initializer that a name or a pair (sigma_w, sigma_b) stands for.

    Args:
        spec: a name in `INITIALIZERS`; or sigma_w and sigma_b, with Var(w) = sigma_w^2 / fan_in.
        gain: multiplies the weight's standard deviation.
        activation: that "unit-gain" takes its gain of.

    Raises:
        ValueError: for an unknown name, or a scale that is negative or not finite.

    References: Glorot and Bengio, 2010, eq. 16; He et al., 2015, eq. 10; LeCun et al., 1998, section 4.6.

    >>> initializer("torch-default").bias_variance(100)
    0.0033333333333333335
    """
    if not 0 <= gain < math.inf:
        raise ValueError(not_allowed("gain", "is a scale and must be >= 0", gain))
    if isinstance(spec, Initializer):
        made = spec
    elif isinstance(spec, str):
        made = _named(spec, activation)
    else:
        made = _numbers(*spec)
    return made if gain == 1 else _scaled(made, gain)


def _scaled(made: Initializer, gain: float) -> Initializer:
    return Initializer(
        name=f"{made.name}, gain {gain:g}",
        weight_variance=lambda fan_in, fan_out: gain**2 * made.weight_variance(fan_in, fan_out),
        bias_variance=made.bias_variance,
        gaussian=made.gaussian,
    )


def _numbers(sigma_w: float, sigma_b: float) -> Initializer:
    for key, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if not 0 <= value < math.inf:
            raise ValueError(not_allowed(key, "is a standard deviation and must be >= 0", value))
    return Initializer(
        name=f"sigma_w={sigma_w:g}, sigma_b={sigma_b:g}",
        weight_variance=_fan_in(sigma_w**2),
        bias_variance=lambda _: sigma_b**2,
        gaussian=True,
    )


def _named(name: str, activation: Spec) -> Initializer:
    if name not in INITIALIZERS:
        raise ValueError(unknown_name("initializer", name, INITIALIZERS))
    match name:
        case "torch-default":
            # U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias alike: variance 1/(3 fan_in).
            return Initializer(name=name, weight_variance=_fan_in(1 / 3), bias_variance=lambda fan_in: 1 / (3 * fan_in))
        case "unit-gain":
            return Initializer(name=name, weight_variance=_fan_in(activation_gain(activation).gain ** 2), gaussian=True)
        case "orthogonal":
            return Initializer(name=name, weight_variance=lambda fan_in, fan_out: 1 / max(fan_in, fan_out))
        case _:
            family, law = name.rsplit("-", 1)
            return Initializer(name=name, weight_variance=_VARIANCES[family], gaussian=law == "normal")


@cache
def forward_and_backward(name: str, fan_in: int, fan_out: int) -> tuple[float, float]:
    """Return (fan_in Var(w), fan_out Var(w)): the factors of a linear layer on the signal and on the gradient.

    1/fan_in keeps the signal, 1/fan_out the gradient; Xavier's compromise Var(w) = 2/(fan_in + fan_out) makes the mean
    of the two factors 1 and keeps neither unless fan_in = fan_out.

    >>> forward_and_backward("xavier-normal", 300, 100)
    (1.5, 0.5)
    >>> forward_and_backward("lecun-normal", 400, 100), forward_and_backward("lecun-fan-out-normal", 400, 100)
    ((1.0, 0.25), (4.0, 1.0))
    """
    variance = initializer(name).weight_variance(fan_in, fan_out)
    return fan_in * variance, fan_out * variance
