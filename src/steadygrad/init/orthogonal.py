"""Orthogonal initialization, whole and at a kernel's middle tap, the identity, and mirrored weights."""

from __future__ import annotations

import math

import torch

from steadygrad.errors import not_allowed, unknown_name

from .gains import Gain, gain_of
from .recipes import DeltaOrthogonal, Identity, LooksLinear, Orthogonal, Recipe
from .recipes.looks_linear import MIRRORS, Mirror
from .variance_scaling import scaled
from .weights import ModuleT, Weight, fill_weights_, weights


def orthogonal_(module: ModuleT, *, gain: Gain = 1.0, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight as an orthogonal matrix, uniform over all, with E[w²] = gain² / fan_in, biases 0; return it.

    The signal keeps its second moment on rectangles too: where a layer widens, the orthonormal columns are scaled by
    sqrt(outputs / inputs). Gates, groups, and query, key and value are matrices of their own.

    Args:
        module: a layer, or any module that holds layers.
        gain: a number > 0, or the activation that follows.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> w = orthogonal_(nn.Linear(64, 256), generator=torch.Generator().manual_seed(0)).weight.detach()
    >>> bool((w.T @ w - 4 * torch.eye(64)).abs().max() < 1e-4)
    True

    Reference: Saxe, McClelland and Ganguli 2014, section 3.
    """
    return fill_weights_(module, scaled(gain, "fan_in", Orthogonal), generator=generator)


def delta_orthogonal_(module: ModuleT, *, gain: Gain = 1.0, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every kernel as an orthogonal matrix at its middle tap, zero at the others, biases 0; return the module.

    E[w²] over all taps is gain² / fan_in. With stride 1 and matching sides the convolution is an isometry, which
    10,000 layers can be made of. Weights without taps become orthogonal matrices.

    Args:
        module: a layer, or any module that holds layers.
        gain: a number > 0, or the activation that follows.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> layer = delta_orthogonal_(nn.Conv2d(8, 8, 3, padding=1), generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(1, 8, 5, 5)
    >>> bool((layer(x).norm() / x.norm() - 1).abs() < 1e-5)
    True

    Reference: Xiao et al. 2018, section 2.4.
    """
    return fill_weights_(module, scaled(gain, "fan_in", DeltaOrthogonal), generator=generator)


def identity_(module: ModuleT, *, scale: float = 1.0) -> ModuleT:
    """Set every weight to `scale` times the identity, at the middle tap of a kernel, biases 0; return the module.

    Args:
        module: a layer, or any module that holds layers.
        scale: finite, on the diagonal of each block; what a rectangle has beyond it is zero.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed.

    >>> from torch import nn
    >>> identity_(nn.Linear(2, 2)).weight.tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Reference: Le, Jaitly and Hinton 2015, section 3, for recurrent weights before ReLU.
    """
    if not math.isfinite(scale):
        raise ValueError(not_allowed("scale", "must be finite", scale))
    return fill_weights_(module, lambda weight: Identity(float(scale)))


def looks_linear_(
    module: ModuleT, *, gain: Gain = 1.0, mirror: Mirror | None = None, generator: torch.Generator | None = None
) -> ModuleT:
    """Draw mirrored orthogonal weights, with which a network of ReLU layers is linear and isometric; return the module.

    A layer's weight is [[w, -w], [-w, w]]: rectified outputs come in pairs, and the next layer takes their difference.
    With gain 1 the second moment of the pre-activations is kept from layer to layer.

    Args:
        module: a layer, or any module that holds layers, in the order in which they follow each other.
        gain: a number > 0.
        mirror: "both", "outputs", "inputs" or "none" for every weight; by default the first weight's outputs, the last
            one's inputs, and both sides of those between.
        generator: gives each weight the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: an argument or a weight is not allowed, or a mirrored side is odd.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> net = looks_linear_(net, generator=torch.Generator().manual_seed(0))
    >>> x, y = torch.randn(2, 4)
    >>> bool((net(x + y) - net(x) - net(y)).abs().max() < 1e-5)
    True

    Reference: Balduzzi et al. 2017, section 4.
    """
    if mirror is not None and mirror not in MIRRORS:
        raise ValueError(unknown_name("mirror", mirror, MIRRORS))
    paths, size = [weight.path for weight in weights(module)], gain_of(gain)

    def recipe_of(weight: Weight) -> Recipe:
        side = mirror or _side(paths.index(weight.path), len(paths))
        # Of a pair relu(u), relu(-u) one is zero: half of the inputs carry the signal.
        seen = weight.fans.fan_in / (2 if side in ("both", "inputs") else 1)
        return LooksLinear(size / math.sqrt(seen), side)

    return fill_weights_(module, recipe_of, generator=generator)


def _side(index: int, count: int) -> Mirror:
    first, last = index == 0, index == count - 1
    return "none" if first and last else "outputs" if first else "inputs" if last else "both"
