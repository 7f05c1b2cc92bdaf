"""Constants: what symmetric units start from, and what a residual branch may."""

from __future__ import annotations

import math

from steadygrad.errors import not_allowed

from .recipes import Constant
from .weights import ModuleT, fill_weights_


def constant_(module: ModuleT, value: float) -> ModuleT:
    """Set every weight of a module to one number and its layers' biases to zero; return the module.

    Units of a layer that start alike stay alike (INI002): for a weight that is not the only one on its way.

    Args:
        module: a layer, or any module that holds layers.
        value: finite.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: the number or a weight is not allowed.

    >>> from torch import nn
    >>> constant_(nn.Linear(2, 1), 0.5).weight.tolist()
    [[0.5, 0.5]]
    """
    if not math.isfinite(value):
        raise ValueError(not_allowed("value", "must be finite", value))
    return fill_weights_(module, lambda weight: Constant(float(value)))


def zeros_(module: ModuleT) -> ModuleT:
    """Set every weight and bias of a module's layers to zero; return the module.

    For the last layer of a residual branch, or a head: the network then starts as what is around it.

    Args:
        module: a layer, or any module that holds layers.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: a weight is not allowed.

    >>> from torch import nn
    >>> zeros_(nn.Linear(2, 1)).weight.tolist()
    [[0.0, 0.0]]

    Reference: Goyal et al. 2017, section 5.1 (the last scale of a residual branch).
    """
    return constant_(module, 0.0)
