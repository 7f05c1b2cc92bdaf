"""Variance scaling: weights whose variance is gain² over a fan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.fans import Fans

from .gains import Gain, gain_of
from .recipes import Distribution, Recipe, independent
from .weights import ModuleT, RecipeOf, Weight, fill_weights_

Mode = Literal["fan_in", "fan_out", "fan_avg"]
MODES: tuple[Mode, ...] = ("fan_in", "fan_out", "fan_avg")


def variance_scaling_(
    module: ModuleT,
    *,
    gain: Gain = 1.0,
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
        gain: a number > 0, or the activation that follows: its name, a function, a module.
        mode: which fan divides.
        distribution: "normal", "uniform" or "truncated_normal" (cut at two deviations, the variance made good).
        generator: gives each weight the key of a stream of its own; on any device, torch's own where it is None.

    Raises:
        TypeError: no rule is registered for a layer; the message says how to register one.
        ValueError: an argument is not allowed, a fan is zero, a weight is an integer or not yet materialized, or
            the module holds no weight.

    >>> from torch import nn
    >>> layer = variance_scaling_(nn.Linear(400, 300), gain=2.0, generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item() * 400**0.5, 1), layer.bias.abs().max().item()
    (2.0, 0.0)

    Reference: He et al. 2015, equations 10 and 14; Glorot and Bengio 2010, equation 12.
    """
    recipe_of = scaled(gain, mode, lambda std: independent(distribution, std))
    return fill_weights_(module, recipe_of, generator=generator)


def scaled(gain: Gain, mode: str, recipe: Callable[[float], Recipe]) -> RecipeOf:
    """Return the recipe of a weight from that of a deviation, gain / sqrt(fan).

    Args:
        gain: a number > 0, or an activation.
        mode: which fan divides.
        recipe: from the deviation to the recipe.

    Raises:
        ValueError: an argument is not allowed.

    >>> from .recipes import Normal
    >>> of = scaled(2.0, "fan_in", Normal)
    """
    size = gain_of(gain)
    if mode not in MODES:
        raise ValueError(unknown_name("mode", mode, MODES))
    recipe(size)  # an argument that is not allowed is said before any weight is looked at

    def recipe_of(weight: Weight) -> Recipe:
        return recipe(size / math.sqrt(fan(weight.fans, mode)))

    return recipe_of


def fan(fans: Fans, mode: str) -> float:
    """Return the fan of a mode.

    >>> fan(Fans(2, 4), "fan_avg")
    3.0
    """
    match mode:
        case "fan_in":
            return fans.fan_in
        case "fan_out":
            return fans.fan_out
        case "fan_avg":
            return (fans.fan_in + fans.fan_out) / 2
        case _:
            raise ValueError(unknown_name("mode", mode, MODES))


def check_std(std: float) -> float:
    """Return a deviation that is allowed.

    >>> check_std(0.02)
    0.02
    """
    if not 0 <= std < math.inf:
        raise ValueError(not_allowed("std", "must be >= 0 and finite", std))
    return std
