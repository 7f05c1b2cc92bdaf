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
from .optimizer_rows import reset_rows_
from .units import Units, traced, units_of


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

    Units that cannot be cut off, because their output meets others before a weight reads it (a sum of a residual
    stream, a layer normalization, the model's output), are reported and left alone.

    Args:
        model: whose forward pass can be traced; linear layers and convolutions, also into each other.
        batches: inputs of the model (tuples for several); together they decide who is dead.
        optimizer: whose state for the units is set.
        generator: for the draws.

    Returns:
        One entry for each layer with dead units.

    Raises:
        SetupError: the model cannot be traced.

    Reference: Sokar, Agarwal, Castro, Evci 2023, The dormant neuron phenomenon in deep reinforcement learning,
    section 5 (ReDo); Lu, Shin, Su, Karniadakis 2019, Dying ReLU and initialization.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> _ = model[0].bias.data.copy_(torch.tensor([-1e3, 1.0])); x = torch.ones(4, 1); before = model(x)
    >>> revive_(model, [x])
    (Revival(path='0', dead=(0,), revived=True, reason=''),)
    >>> torch.equal(model(x), before)
    True
    """
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
    constants = [activity.constants(path, _columns(units, reader, dead)) for path, reader in units.readers]
    reason = units.blocked or next(filter(None, map(_obstacle, units.readers, constants)), "")
    if reason or not units.readers:
        return Revival(path=units.path, dead=positions, revived=False, reason=reason or "nothing reads it")
    for (_, reader), constant in zip(units.readers, constants, strict=True):
        assert constant is not None
        _cut_off_(reader, _columns(units, reader, dead), constant, optimizer)
    _draw_(units, dead, optimizer, generator)
    return Revival(path=units.path, dead=positions, revived=True)


def _obstacle(reader: tuple[str, Any], constant: Tensor | None) -> str:
    """Why a reader cannot be told the constant instead."""
    path, layer = reader
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


def _columns(units: Units, reader: Any, dead: Tensor) -> Tensor:
    """Inputs of a reader that come from the dead units: several for each where a convolution was flattened."""
    each = reader.weight.shape[1] // units.count
    columns: Tensor = dead[:, None] * each + torch.arange(each, device=dead.device)
    return columns.flatten()


def _cut_off_(reader: Any, columns: Tensor, constant: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Move a constant into the bias and make the weights that read it zero."""
    if constant.any():
        weights = reader.weight[:, columns].flatten(2).sum(2) if reader.weight.ndim > 2 else reader.weight[:, columns]
        reader.bias += weights @ constant
    reader.weight[:, columns] = 0
    if optimizer is not None:
        reset_rows_(optimizer, reader.weight, 1, columns)


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
