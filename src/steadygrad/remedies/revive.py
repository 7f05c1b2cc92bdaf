"""Dead units drawn anew, without changing what the network computes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .activity import Activity, activity_on
from .optimizer_rows import check_optimizer, reset_rows_
from .traced import is_affine_norm, traced
from .units import Units, units_of
from .walk import Reader

# Normalized channels have variance 1 about; a range below this is rounding and the like.
_VARIES = 1e-3


@dataclass(frozen=True, kw_only=True)
class Revival:
    """What became of a layer's dead units.

    Attributes:
        path: of the layer.
        dead: positions of the units that were dead.
        revived: whether they were drawn anew.
        reason: why not; empty where they were.
    """

    path: str
    dead: tuple[int, ...]
    revived: bool
    reason: str = ""


@torch.no_grad()
def revive_(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Revival, ...]:
    """Draw dead units anew in place, so that the function is unchanged at that moment and they can learn.

    A unit is dead where its activation's derivative is 0 on every example of the batches. Its incoming weights are
    drawn from N(0, s²), s² the mean square of the live units' weights (He's 2 / fan_in where none lives), its bias
    becomes 0, its batch normalization neutral; its outgoing weights become 0, and what it passed on until now, a
    constant, moves into the biases of the layers that read it. The optimizer's state becomes that of live units.

    It follows the units through batch normalization, pooling, flattening, sums and other operators of entries, into
    linear layers and convolutions, grouped ones too. Behind a sum, such as a residual stream, that is exact where all
    that is added to the unit is constant too. A unit behind a layer or group normalization gets another scale and shift
    there, because new weights before it would change what the other units are divided by.

    Units that cannot be cut off (what is added to them varies, a normalization over all units reads them, they leave
    the model) are reported with the operator and its line, and left alone.

    Args:
        model: whose forward pass can be traced; linear layers and convolutions, also into each other.
        batches: inputs of the model, tuples or lists for several; what follows them is not looked at. Together they
            decide who is dead.
        optimizer: whose state for the units is set.
        generator: for the draws.

    Returns:
        One entry for each layer with dead units.

    Raises:
        SetupError: the model cannot be traced, or raises on a batch.
        TypeError: the model or the optimizer is of another kind.
        ValueError: there is no batch, or one is empty.

    Reference: Sokar, Agarwal, Castro, Evci 2023, The dormant neuron phenomenon in deep reinforcement learning,
    section 5 (ReDo); Lu, Shin, Su, Karniadakis 2019, Dying ReLU and initialization.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> _ = model[0].bias.data.copy_(torch.tensor([-1e3, 1.0])); x = torch.ones(4, 1); before = model(x)
    >>> revive_(model, [x])
    (Revival(path='0', dead=(0,), revived=True, reason=''),)
    >>> torch.equal(model(x), before)
    True
    """
    check_optimizer(optimizer)
    graph = traced(model)
    activity = activity_on(graph, batches)
    found = ((units, activity.dead(units)) for units in units_of(graph))
    return tuple(_revived_(units, dead, activity, optimizer, generator) for units, dead in found if len(dead))


def _revived_(
    units: Units,
    dead: Tensor,
    activity: Activity,
    optimizer: torch.optim.Optimizer | None,
    generator: torch.Generator | None,
) -> Revival:
    positions = tuple(dead.tolist())
    columns = [reader.place.columns(dead, units.count) for reader in units.readers]
    reason = units.blocked or ("" if units.readers else "nothing reads it") or _still(units, dead, activity)
    if not reason:
        found = [activity.constants(reader.path, each) for reader, each in zip(units.readers, columns, strict=True)]
        reason = next(filter(None, map(_obstacle, units.readers, found)), "")
    if reason:
        return Revival(path=units.path, dead=positions, revived=False, reason=reason)
    for reader, each, constant in zip(units.readers, columns, found, strict=True):
        assert constant is not None
        _cut_off_(reader.layer, each, constant, optimizer)
    if is_affine_norm(units.layer):
        _centre_(units, dead, activity, optimizer)
    else:
        _draw_(units, dead, optimizer, generator)
    return Revival(path=units.path, dead=positions, revived=True)


def _obstacle(reader: Reader, constant: Tensor | None) -> str:
    """Why a reader cannot be told the constant instead."""
    path, layer = reader.path, reader.layer
    if constant is None:
        return f"what it passes on to `{path}` is not constant"
    if not constant.any():
        return ""
    if layer.bias is None:
        return f"`{path}` has no bias to take the constant"
    if getattr(layer, "padding_mode", "") == "zeros" and any(_padding(layer)):
        return f"`{path}` pads with zeros, beside which the constant is not constant"
    return ""


def _padding(layer: Any) -> tuple[int, ...]:
    return (0,) if layer.padding == "valid" else (1,) if layer.padding == "same" else tuple(layer.padding)


def _cut_off_(layer: Any, columns: Tensor, constant: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Move a constant into the bias and make the weights that read it zero; in each group of a convolution its own."""
    groups, width = getattr(layer, "groups", 1), layer.weight.shape[1]
    for group, weight in enumerate(layer.weight.chunk(groups)):
        rows = slice(group * len(weight), (group + 1) * len(weight))
        mine = columns // width == group
        inputs, value = columns[mine] - group * width, constant[mine]
        if value.any():
            layer.bias[rows] += (
                weight[:, inputs].flatten(2).sum(2) @ value if weight.ndim > 2 else weight[:, inputs] @ value
            )
        weight[:, inputs] = 0
        if optimizer is not None and len(inputs):
            reset_rows_(optimizer, layer.weight, 1, inputs, rows)


def _still(units: Units, dead: Tensor, activity: Activity) -> str:
    """Why scale and shift alone cannot wake channels of a normalization: what they scale hardly varies."""
    if not is_affine_norm(units.layer):
        return ""
    low, high = activity.normalized[units.path].ends
    return "" if ((high - low)[dead] > _VARIES).all() else "what it normalizes does not vary on the batches"


def _centre_(units: Units, dead: Tensor, activity: Activity, optimizer: torch.optim.Optimizer | None) -> None:
    """Scale and shift channels so that what they saw lies around 0, at least from -1 to 1.

    The layer before stays as it is: drawn anew, it would change mean and variance for all others.
    """
    low, high = (end[dead] for end in activity.normalized[units.path].ends)
    scale = (2 / (high - low)).clamp(min=1)
    layer: Any = units.layer
    layer.weight[dead], layer.bias[dead] = scale, -scale * (low + high) / 2
    for parameter in (layer.weight, layer.bias) if optimizer is not None else ():
        assert optimizer is not None
        reset_rows_(optimizer, parameter, 0, dead)


def _draw_(
    units: Units, dead: Tensor, optimizer: torch.optim.Optimizer | None, generator: torch.Generator | None
) -> None:
    weight: Tensor = units.layer.weight
    alive = torch.ones(units.count, dtype=torch.bool, device=weight.device)
    alive[dead] = False
    fan_in = weight[0].numel()
    scale = weight[alive].square().mean().sqrt().item() if alive.any() else math.sqrt(2 / fan_in)
    weight[dead] = torch.empty_like(weight[dead]).normal_(0, scale, generator=generator)
    changed: list[Tensor] = [weight]
    if units.layer.bias is not None:
        units.layer.bias[dead] = 0
        changed.append(units.layer.bias)
    for norm in units.norms:
        changed += _neutral_(norm, dead, alive)
    for parameter in changed if optimizer is not None else ():
        assert optimizer is not None
        reset_rows_(optimizer, parameter, 0, dead)


def _neutral_(norm: _NormBase, dead: Tensor, alive: Tensor) -> list[Tensor]:
    """Give a batch normalization's entries scale 1, shift 0, mean 0, and the variance that live units have."""
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean[dead] = 0
        norm.running_var[dead] = norm.running_var[alive].mean() if alive.any() else 1.0
    if not norm.affine:
        return []
    norm.weight[dead], norm.bias[dead] = 1, 0
    return [norm.weight, norm.bias]
