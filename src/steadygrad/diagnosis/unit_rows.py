"""The weights of a layer, a row a unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from steadygrad.fans import weight_fans


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitRows:
    """What a layer's units sum with.

    Attributes:
        weights: [units, weights of a unit], all weights of the layer side by side.
        biases: [units, biases of a unit]; no columns where there are none.
    """

    weights: torch.Tensor
    biases: torch.Tensor


def unit_rows(layer: nn.Module, parameters: Mapping[str, torch.Tensor]) -> UnitRows | None:
    """Return a layer's weights by unit; None where the parameters lack some, or the blocks do not fit.

    Gates of a recurrent layer, and query, key and value of attention, belong to one unit.

    Args:
        layer: whose weights' layout is known.
        parameters: values by their names in the layer.

    >>> layer = nn.Linear(3, 5)
    >>> unit_rows(layer, dict(layer.named_parameters())).weights.shape
    torch.Size([5, 3])
    """
    names = list(weight_fans(layer))
    if not names or any(name not in parameters for name in names):
        return None
    units = _units(layer, parameters[names[0]])
    weights = [rows for name in names if (rows := _rows(layer, parameters[name], units)) is not None]
    biases = [
        rows
        for name, p in parameters.items()
        if "bias" in name and p.dim() == 1 and (rows := _rows(layer, p, units)) is not None
    ]
    if len(weights) < len(names):
        return None
    empty = weights[0].new_empty(units, 0)
    return UnitRows(weights=torch.cat(weights, 1), biases=torch.cat([empty, *biases], 1))


def _units(layer: nn.Module, weight: torch.Tensor) -> int:
    if isinstance(layer, _ConvTransposeNd):
        return layer.out_channels
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return int(layer.hidden_size)
    return layer.embed_dim if isinstance(layer, nn.MultiheadAttention) else len(weight)


def _rows(layer: nn.Module, value: torch.Tensor, units: int) -> torch.Tensor | None:
    """[blocks · units, ...] as [units, blocks · ...], in double precision."""
    x = value.detach().double()
    if isinstance(layer, _ConvTransposeNd) and x.dim() > 1:
        if layer.groups > 1:
            return None
        x = x.transpose(0, 1)
    if len(x) % units:
        return None
    blocks = x.reshape(len(x) // units, units, math.prod(x.shape[1:]))
    return blocks.transpose(0, 1).reshape(units, -1)
