"""A normal whose tails are cut, its variance made good."""

from __future__ import annotations

import torch

from .gains import Gain
from .recipes import TruncatedNormal, independent
from .variance_scaling import Mode, check_std, scaled
from .weights import ModuleT, fill_weights_


def truncated_normal_(
    module: ModuleT,
    *,
    std: float | None = None,
    gain: Gain = 1.0,
    mode: Mode = "fan_in",
    cut: float = 2.0,
    generator: torch.Generator | None = None,
) -> ModuleT:
    """Draw every weight from a normal cut at ±cut of its own deviations, biases 0; return the module.

    The normal is widened by what the cut takes, so that the weights have the deviation asked for: std, or
    gain / sqrt(fan). `torch.nn.init.trunc_normal_(w, std=0.02)` cuts at ±2, a hundred deviations, so not at all.

    Args:
        module: a layer, or any module that holds layers.
        std: deviation of every weight, >= 0; None for gain / sqrt(fan).
        gain: a number > 0, or the activation that follows.
        mode: which fan divides.
        cut: in deviations of the normal before the cut, > 0.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = truncated_normal_(nn.Linear(300, 300), std=0.02, generator=torch.Generator().manual_seed(0))
    >>> w = layer.weight.detach()
    >>> round(w.std().item(), 3), round(w.abs().max().item(), 4)              # 2 · 0.02 / 0.8796
    (0.02, 0.0455)
    """
    if std is not None:
        recipe = TruncatedNormal(check_std(std), independent("truncated_normal", 1.0, cut=cut).cut)  # type: ignore[attr-defined]
        return fill_weights_(module, lambda weight: recipe, generator=generator)
    recipe_of = scaled(gain, mode, lambda size: independent("truncated_normal", size, cut=cut))
    return fill_weights_(module, recipe_of, generator=generator)
