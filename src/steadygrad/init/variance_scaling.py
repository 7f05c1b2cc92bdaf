"""Variance scaling: weights whose variance is gain² over a fan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.fans import Fans, weight_fans

from .fills import DISTRIBUTIONS, Distribution, fill_

Mode = Literal["fan_in", "fan_out", "fan_avg"]
MODES: tuple[Mode, ...] = ("fan_in", "fan_out", "fan_avg")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def variance_scaling_(
    module: ModuleT,
    *,
    gain: float = 1.0,
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    generator: torch.Generator | None = None,
) -> ModuleT:
    """Draw every weight of a module with variance gain² / fan and set its layers' biases to zero; return the module.

    Var(w) = gain² / fan, with the fan of `mode`; for fan_avg it is (fan_in + fan_out) / 2. Packed weights are scaled by
    the fans of one of their blocks. Norms and other layers that sum nothing keep what they have; a weight that two
    layers share is drawn once. Either every weight is drawn or, where something is not allowed, none.

    Args:
        module: a layer, or any module that holds layers.
        gain: > 0, finite.
        mode: which fan divides.
        distribution: "normal", "uniform" or "truncated_normal" (cut at two deviations, the variance made good).
        generator: where the numbers come from, on the weights' device.

    Raises:
        TypeError: no rule is registered for a layer; the message says how to register one.
        ValueError: an argument is not allowed, a fan is zero, a weight is an integer or not yet materialized, or
            the module holds no weight.

    >>> layer = variance_scaling_(nn.Linear(400, 300), gain=2.0, generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item() * 400**0.5, 1), layer.bias.abs().max().item()
    (2.0, 0.0)

    Reference: He et al. 2015, equations 10 and 14; Glorot and Bengio 2010, equation 12.
    """
    _check(gain, mode, distribution)
    weights = list(_weights(module))
    if not weights:
        raise ValueError(not_allowed("module", "must hold a layer with a weight", type(module).__name__))
    planned = [(found.weight, gain / math.sqrt(_fan(found, mode))) for found in weights]
    for weight, std in planned:
        fill_(weight, std, distribution, generator=generator)
    _zero_biases_({id(found.layer): found.layer for found in weights}.values())
    return module


class _Weight(NamedTuple):
    path: str
    layer: nn.Module
    weight: torch.Tensor
    fans: Fans


def _weights(module: nn.Module) -> Iterator[_Weight]:
    """Each weight once, in the order of `modules()`, after it was looked at."""
    seen: set[int] = set()
    for path, layer in module.named_modules():
        for name, fans in weight_fans(layer).items():
            weight = getattr(layer, name)
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            yield _usable(_Weight(f"{path}.{name}".lstrip("."), layer, weight, fans))


def _usable(found: _Weight) -> _Weight:
    if is_lazy(found.weight):
        raise ValueError(f"`{found.path}` must be materialized first: run the model once on a batch.")
    if not found.weight.is_floating_point():
        raise ValueError(not_allowed(found.path, "must be of a floating point type", found.weight.dtype))
    if min(found.fans) < 1:
        raise ValueError(not_allowed(found.path, "must have fans >= 1", tuple(found.fans)))
    return found


def _fan(found: _Weight, mode: Mode) -> float:
    match mode:
        case "fan_in":
            return found.fans.fan_in
        case "fan_out":
            return found.fans.fan_out
        case "fan_avg":
            return (found.fans.fan_in + found.fans.fan_out) / 2
        case _:
            raise ValueError(unknown_name("mode", mode, MODES))


def _check(gain: float, mode: str, distribution: str) -> None:
    if not 0 < gain < math.inf:
        raise ValueError(not_allowed("gain", "must be > 0 and finite", gain))
    if mode not in MODES:
        raise ValueError(unknown_name("mode", mode, MODES))
    if distribution not in DISTRIBUTIONS:
        raise ValueError(unknown_name("distribution", distribution, DISTRIBUTIONS))


@torch.no_grad()
def _zero_biases_(layers: Iterable[nn.Module]) -> None:
    for layer in layers:
        for name, parameter in layer.named_parameters(recurse=False):
            if "bias" in name:
                parameter.zero_()
