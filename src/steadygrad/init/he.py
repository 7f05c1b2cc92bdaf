"""He initialization: the gain of ReLU and its leaky kin over one fan."""

from __future__ import annotations

import math

import torch

from steadygrad.errors import not_allowed

from .variance_scaling import Mode, variance_scaling_
from .weights import ModuleT


def he_uniform_(
    module: ModuleT, *, slope: float = 0.0, mode: Mode = "fan_in", generator: torch.Generator | None = None
) -> ModuleT:
    """Draw every weight of a module from U(-a, a) with a = sqrt(3) s, biases 0; return it.

    s² = 2 / ((1 + slope²) fan): E[phi(u)²] = (1 + slope²)/2 E[u²] for u symmetric about 0.

    Args:
        module: a layer, or any module that holds layers.
        slope: of the activation below 0; 0 for ReLU, 1 for a linear unit.
        mode: "fan_in" keeps the signal, "fan_out" the gradient.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = he_uniform_(nn.Linear(800, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # sqrt(2 / 800)
    0.05

    Reference: He et al. 2015, equations 10, 14 and 15.
    """
    return variance_scaling_(module, gain=_gain(slope), mode=mode, distribution="uniform", generator=generator)


def he_normal_(
    module: ModuleT, *, slope: float = 0.0, mode: Mode = "fan_in", generator: torch.Generator | None = None
) -> ModuleT:
    """Draw every weight of a module from N(0, s²), biases 0; return it.

    s² = 2 / ((1 + slope²) fan): E[phi(u)²] = (1 + slope²)/2 E[u²] for u symmetric about 0.

    Args:
        module: a layer, or any module that holds layers.
        slope: of the activation below 0; 0 for ReLU, 1 for a linear unit.
        mode: "fan_in" keeps the signal, "fan_out" the gradient.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = he_normal_(nn.Linear(800, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # sqrt(2 / 800)
    0.05

    Reference: He et al. 2015, equations 10, 14 and 15.
    """
    return variance_scaling_(module, gain=_gain(slope), mode=mode, distribution="normal", generator=generator)


def _gain(slope: float) -> float:
    if not math.isfinite(slope):
        raise ValueError(not_allowed("slope", "must be finite", slope))
    return math.sqrt(2 / (1 + slope**2))
