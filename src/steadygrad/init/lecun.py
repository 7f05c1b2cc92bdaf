"""LeCun initialization: unit gain over fan_in."""

from __future__ import annotations

import torch

from .variance_scaling import variance_scaling_
from .weights import ModuleT


def lecun_uniform_(module: ModuleT, *, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight of a module from U(-a, a) with a = sqrt(3 / fan_in), biases 0; return it.

    What linear layers and SELU need: both have gain 1.

    Args:
        module: a layer, or any module that holds layers.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: a weight is not allowed.

    >>> from torch import nn
    >>> layer = lecun_uniform_(nn.Linear(400, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # 1 / 20
    0.05

    Reference: LeCun et al. 1998, equation 16; Klambauer et al. 2017, section 2.
    """
    return variance_scaling_(module, gain=1.0, mode="fan_in", distribution="uniform", generator=generator)


def lecun_normal_(module: ModuleT, *, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight of a module from N(0, 1 / fan_in), biases 0; return it.

    What linear layers and SELU need: both have gain 1.

    Args:
        module: a layer, or any module that holds layers.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: a weight is not allowed.

    >>> from torch import nn
    >>> layer = lecun_normal_(nn.Linear(400, 300), generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2)                  # 1 / 20
    0.05

    Reference: LeCun et al. 1998, equation 16; Klambauer et al. 2017, section 2.
    """
    return variance_scaling_(module, gain=1.0, mode="fan_in", distribution="normal", generator=generator)
