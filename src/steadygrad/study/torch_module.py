"""A point as a torch module: the network that the population trains, to look at or to go on with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .data import load
from .point import Point
from .population.activations import FUNCTIONS
from .population.draw import draw

_MODULES: dict[str, Callable[[], nn.Module]] = {
    "celu": nn.CELU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class Pointwise(nn.Module):
    """A function of torch as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        """Return the function of every entry."""
        return self.function(u)


def network(point: Point) -> nn.Sequential:
    """Return the network of a point as it is before training: Linear, activation, ..., Linear.

    >>> network(Point(depth=1, width=8, activation="tanh"))
    Sequential(
      (0): Linear(in_features=64, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=10, bias=True)
    )
    """
    data = load(point.data)
    modules: list[nn.Module] = []
    for weight, bias in draw(point, data.inputs.shape[1], data.targets.shape[1]):
        linear = nn.utils.skip_init(nn.Linear, *weight.shape[::-1], dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        modules += [linear, _module(point)]
    return nn.Sequential(*modules[:-1])


def _module(point: Point) -> nn.Module:
    match point.activation:
        case "leaky_relu":
            return nn.LeakyReLU(0.01 if point.slope is None else point.slope)
        case "prelu":
            return nn.PReLU(init=0.25 if point.slope is None else point.slope, dtype=getattr(torch, point.dtype))
        case "erf":
            return Pointwise(torch.erf)
        case name if name in _MODULES:
            return _MODULES[name]()
        case name:
            return Pointwise(FUNCTIONS[name])
