"""The activations of the catalogue on tensors: phi, and the gradient passed back through it, in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from steadygrad.errors import unknown_name

_aten = torch.ops.aten
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
_SOFTPLUS_LINEAR_ABOVE = 20.0  # torch's own


@dataclass(frozen=True)
class Phi:
    """An activation of a batch of networks.

    Attributes:
        forward: writes phi(z) to `out`; `out` is `z` itself where `from_output`.
        backward: multiplies the gradient by phi' in place.
        from_output: whether the backward pass needs h = phi(z) alone.
        default_slope: of what has a slope for each network.
        trained_slope: whether that slope is trained.
    """

    forward: Callable[[Tensor, Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], object]
    from_output: bool = True
    default_slope: float = 0.0
    trained_slope: bool = False


def _leaky(z: Tensor, out: Tensor, slope: Tensor) -> None:
    torch.mul(z, slope, out=out)
    torch.where(z > 0, z, out, out=out)


def _leaky_back(g: Tensor, z: Tensor, h: Tensor, slope: Tensor) -> None:
    g.mul_(torch.where(z > 0, 1.0, slope))


def _exponential(alpha: float, scale: float) -> Phi:
    return Phi(
        lambda z, out, _: _aten.elu.out(z, alpha, scale, 1.0, out=out),
        lambda g, z, h, _: _aten.elu_backward.grad_input(g, alpha, scale, 1.0, True, h, grad_input=g),
    )


def _from_function(function: Callable[[Tensor], Tensor]) -> Phi:
    """An activation that has no backward of its own here: autograd differentiates it, entry by entry."""

    def back(g: Tensor, z: Tensor, h: Tensor, slope: Tensor) -> None:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            passed = torch.autograd.grad(function(leaf), leaf, g)[0]
        g.copy_(passed)

    return Phi(lambda z, out, _: out.copy_(function(z)), back, from_output=False)


_FAST: dict[str, Phi] = {
    "identity": Phi(lambda z, out, _: None, lambda g, z, h, _: None),
    "relu": Phi(
        lambda z, out, _: torch.relu_(z),
        lambda g, z, h, _: _aten.threshold_backward.grad_input(g, h, 0, grad_input=g),
    ),
    "leaky_relu": Phi(_leaky, _leaky_back, from_output=False, default_slope=0.01),
    "prelu": Phi(_leaky, _leaky_back, from_output=False, default_slope=0.25, trained_slope=True),
    "tanh": Phi(
        lambda z, out, _: torch.tanh_(z), lambda g, z, h, _: _aten.tanh_backward.grad_input(g, h, grad_input=g)
    ),
    "sigmoid": Phi(
        lambda z, out, _: torch.sigmoid_(z), lambda g, z, h, _: _aten.sigmoid_backward.grad_input(g, h, grad_input=g)
    ),
    "gelu": Phi(
        lambda z, out, _: _aten.gelu.out(z, out=out),
        lambda g, z, h, _: _aten.gelu_backward.grad_input(g, z, grad_input=g),
        from_output=False,
    ),
    "silu": Phi(
        lambda z, out, _: _aten.silu.out(z, out=out),
        lambda g, z, h, _: _aten.silu_backward.grad_input(g, z, grad_input=g),
        from_output=False,
    ),
    "elu": _exponential(1.0, 1.0),
    "celu": _exponential(1.0, 1.0),
    "selu": _exponential(_SELU_ALPHA, _SELU_SCALE),
    "softplus": Phi(
        lambda z, out, _: _aten.softplus.out(z, 1.0, _SOFTPLUS_LINEAR_ABOVE, out=out),
        lambda g, z, h, _: _aten.softplus_backward.grad_input(g, z, 1.0, _SOFTPLUS_LINEAR_ABOVE, grad_input=g),
        from_output=False,
    ),
    "erf": Phi(
        lambda z, out, _: torch.erf(z, out=out),
        lambda g, z, h, _: g.mul_(z.square().neg_().exp_().mul_(2 / math.sqrt(math.pi))),
        from_output=False,
    ),
}

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "cos": torch.cos,
    "exp": torch.exp,
    "hardshrink": F.hardshrink,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "relu6": F.relu6,
    "rrelu": lambda z: F.leaky_relu(z, (1 / 8 + 1 / 3) / 2),  # as it is in evaluation
    "sin": torch.sin,
    "softshrink": F.softshrink,
    "softsign": F.softsign,
    "square": torch.square,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda z: F.threshold(z, 0.0, 0.0),
}

ACTIVATIONS: dict[str, Phi] = _FAST | {name: _from_function(function) for name, function in FUNCTIONS.items()}


def phi(name: str) -> Phi:
    """Return the activation of this name.

    >>> phi("relu").from_output, phi("gelu").from_output
    (True, False)
    """
    if name not in ACTIVATIONS:
        raise ValueError(unknown_name("activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]
