"""Xavier initialization: the mean of both fans, a compromise between the forward and the backward pass."""

from __future__ import annotations

import torch

from .variance_scaling import variance_scaling_
from .weights import ModuleT


def xavier_uniform_(module: ModuleT, *, gain: float = 1.0, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight of a module from U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)), biases 0; return it.

    Made for activations that are the identity around 0, such as tanh; before ReLU it halves the second moment a layer.

    Args:
        module: a layer, or any module that holds layers.
        gain: > 0, finite.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = xavier_uniform_(nn.Linear(500, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # sqrt(2 / 800)
    0.05

    Reference: Glorot and Bengio 2010, equations 12 and 16.
    """
    return variance_scaling_(module, gain=gain, mode="fan_avg", distribution="uniform", generator=generator)


def xavier_normal_(module: ModuleT, *, gain: float = 1.0, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight of a module from N(0, s²) with s = gain sqrt(2 / (fan_in + fan_out)), biases 0; return it.

    Made for activations that are the identity around 0, such as tanh; before ReLU it halves the second moment a layer.

    Args:
        module: a layer, or any module that holds layers.
        gain: > 0, finite.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = xavier_normal_(nn.Linear(500, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # sqrt(2 / 800)
    0.05

    Reference: Glorot and Bengio 2010, equations 12 and 16.
    """
    return variance_scaling_(module, gain=gain, mode="fan_avg", distribution="normal", generator=generator)
