"""The weights that a point starts from: the same for a population, a network alone and every machine."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from steadygrad import theory
from steadygrad.study.point import Point

Law = Literal["normal", "uniform"]


class Drawn(NamedTuple):
    """One Linear as torch keeps it: weight [fan_out, fan_in] and bias [fan_out]."""

    weight: Tensor
    bias: Tensor


def layer_sizes(point: Point, inputs: int, outputs: int) -> list[tuple[int, int]]:
    """Return (fan_in, fan_out) of each Linear.

    >>> layer_sizes(Point(depth=2, width=8, activation="relu"), 64, 10)
    [(64, 8), (8, 8), (8, 10)]
    """
    sizes = [inputs, *[point.width] * point.depth, outputs]
    return list(itertools.pairwise(sizes))


def draw(point: Point, inputs: int, outputs: int) -> list[Drawn]:
    """Return the weights and biases of every Linear, from a generator of its own.

    Args:
        point: says how; two points that differ in a scale alone get the same numbers, scaled.
        inputs: features of an example.
        outputs: units of the last Linear.

    >>> layers = draw(Point(depth=1, width=500, activation="tanh", sigma_w=2.0), 400, 10)
    >>> round(layers[0].weight.std().item() * 400**0.5, 1), layers[0].bias.abs().max().item()
    (2.0, 0.0)
    """
    generator = torch.Generator().manual_seed(point.seed)
    dtype = getattr(torch, point.dtype)
    made = []
    for index, (fan_in, fan_out) in enumerate(layer_sizes(point, inputs, outputs)):
        weight = _weight(point, fan_in, fan_out, generator).to(dtype)
        bias = _bias(point, fan_in, fan_out, generator).to(dtype)
        made.append(Drawn(weight, bias.add_(point.bias_mean) if index < point.depth else bias))
    return made


@lru_cache(maxsize=256)
def _initializer(name: str, activation: str) -> theory.Initializer:
    return theory.initializer(name, activation=activation)


def _weight(point: Point, fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    empty = torch.empty(fan_out, fan_in)
    if point.sigma_w is not None:
        return _fill_(empty, point.sigma_w / math.sqrt(fan_in), "normal", generator)
    name = point.initializer or "torch-default"
    if name == "orthogonal":
        return torch.nn.init.orthogonal_(empty, point.gain, generator=generator)
    variance = _initializer(name, point.activation).weight_variance(fan_in, fan_out)
    return _fill_(empty, point.gain * math.sqrt(variance), _law(name), generator)


def _bias(point: Point, fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    """Drawn whatever its scale, so that the weights after it are the same numbers."""
    name = point.initializer or "torch-default"
    normal = point.sigma_b is not None or point.sigma_w is not None or name != "torch-default"
    scale = point.sigma_b
    if scale is None:
        scale = 0.0 if point.sigma_w is not None else _initializer(name, point.activation).sigma_b(fan_in)
    return _fill_(torch.empty(fan_out), scale, "normal" if normal else "uniform", generator)


def _fill_(tensor: Tensor, std: float, law: Law, generator: torch.Generator) -> Tensor:
    if law == "normal":
        return tensor.normal_(0.0, std, generator=generator)
    bound = math.sqrt(3.0) * std
    return tensor.uniform_(-bound, bound, generator=generator)


def _law(name: str) -> Law:
    return "uniform" if name.endswith("uniform") or name == "torch-default" else "normal"
