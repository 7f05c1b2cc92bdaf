"""Against units that are born dead, and for units that listen to few: asymmetric and sparse weights."""

from __future__ import annotations

import math

import torch

from steadygrad.errors import not_allowed

from .gains import Gain
from .recipes import Asymmetric, Sparse
from .variance_scaling import Mode, scaled
from .weights import ModuleT, fill_weights_

# The sigma at which E[relu(sigma sqrt(m) z + p x)²] = m for p ~ Beta(2, 1) and x distributed as the rectified outputs
# themselves: a fixed point of the layer's map, derived again in tests/init.
ASYMMETRIC_SIGMA = 0.847


def randomized_asymmetric_(
    module: ModuleT, *, sigma: float = ASYMMETRIC_SIGMA, generator: torch.Generator | None = None
) -> ModuleT:
    """Draw weights with one positive one a unit, so that ReLU units are rarely born dead, biases 0; return the module.

    The weights of a unit are N(0, sigma² / fan_in), but one at a random place, which is Beta(2, 1). Rectified ones
    are never negative, so it lifts the unit. With the default sigma, wide layers keep the second moment.

    Args:
        module: a layer, or any module that holds layers.
        sigma: >= 0, finite.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = randomized_asymmetric_(nn.Linear(50, 20), generator=torch.Generator().manual_seed(0))
    >>> bool((layer.weight.max(dim=1).values > 0).all())
    True

    Reference: Lu et al. 2019, section 4. They draw the bias together with the weights; here it is zero.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(not_allowed("sigma", "must be >= 0 and finite", sigma))
    return fill_weights_(module, lambda weight: Asymmetric(sigma, weight.fans.fan_in), generator=generator)


def sparse_(
    module: ModuleT,
    *,
    connections: int = 15,
    gain: Gain = 1.0,
    mode: Mode = "fan_in",
    generator: torch.Generator | None = None,
) -> ModuleT:
    """Draw weights of which each unit has exactly `connections` that are not zero, biases 0; return the module.

    E[w²] over all of a unit's weights is gain² / fan, so the ones that are there are N(0, gain² n / (fan connections)).
    (`torch.nn.init.sparse_` counts zeros by input: there a unit may have none left, or all.)

    Args:
        module: a layer, or any module that holds layers.
        connections: >= 1, at most a unit's weights.
        gain: a number > 0, or the activation that follows.
        mode: which fan divides.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> sparse_(nn.Linear(50, 3)).weight.count_nonzero(dim=1).tolist()
    [15, 15, 15]

    Reference: Martens 2010, section 5.
    """
    if isinstance(connections, bool) or not isinstance(connections, int) or connections < 1:
        raise ValueError(not_allowed("connections", "must be a whole number >= 1", connections))
    return fill_weights_(module, scaled(gain, mode, lambda std: Sparse(std, connections)), generator=generator)
