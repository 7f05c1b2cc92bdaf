"""How many inputs a unit sums (fan_in) and how many units an input reaches (fan_out): the one place for layouts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import singledispatch
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from .errors import unknown_name


class Fans(NamedTuple):
    """Terms that a weight puts into one output, and terms that it puts into the gradient of one input.

    For independent weights of mean 0: Var(y) = fan_in Var(w) E[x²] and E[(dL/dx)²] = fan_out Var(w) E[(dL/dy)²].
    """

    fan_in: int
    fan_out: int


def fans(layer: nn.Module, weight: str | None = None) -> Fans:
    """Return fan_in and fan_out of a layer, as its own arithmetic uses the weight.

    Interior positions count, so padding does not. Where a stride makes the number of terms differ from position to
    position it is their mean, rounded to the nearest integer and at least 1.

    Args:
        layer: a layer with a weight.
        weight: the parameter's name; the first weight where it is None.

    Raises:
        TypeError: the layer has no weight, or no rule is registered for it.
        ValueError: the layer has no weight of that name.

    >>> fans(nn.ConvTranspose2d(64, 16, 5))
    Fans(fan_in=1600, fan_out=400)
    >>> fans(nn.LSTM(8, 32), "weight_hh_l0")
    Fans(fan_in=32, fan_out=32)

    Reference: He et al. 2015, equations 9 and 13 (fan_in and fan_out of a convolution).
    """
    table = weight_fans(layer)
    if not table:
        raise TypeError(f"`layer` must have a weight, got {type(layer).__name__}.")
    if weight is None:
        return next(iter(table.values()))
    if weight not in table:
        raise ValueError(unknown_name("weight", weight, table))
    return table[weight]


@singledispatch
def weight_fans(layer: nn.Module) -> Mapping[str, Fans]:
    """Return the fans of each weight of a layer by parameter name; empty where nothing is summed, as in a norm.

    A packed weight (gates, or query, key and value) has the fans of one of its blocks: that is what a unit sums.
    Teach it a layer of your own with ``weight_fans.register(MyLayer)(lambda layer: {"weight": Fans(3, 4)})``.

    Raises:
        TypeError: the layer has parameters of its own, and no rule is registered for it.

    >>> weight_fans(nn.MultiheadAttention(16, 2))
    {'in_proj_weight': Fans(fan_in=16, fan_out=16)}
    >>> weight_fans(nn.LayerNorm(16))
    {}
    """
    if next(layer.parameters(recurse=False), None) is None:
        return {}
    name = type(layer).__name__
    raise TypeError(
        f"`layer` must be of a type whose weight layout is known, got {name}. Tell it with "
        f'steadygrad.fans.weight_fans.register({name})(lambda layer: {{"weight": Fans(fan_in, fan_out)}}).'
    )


@weight_fans.register(nn.Linear)
def _linear(layer: nn.Linear) -> Mapping[str, Fans]:
    return {"weight": Fans(layer.in_features, layer.out_features)}


@weight_fans.register(_ConvNd)
def _convolution(layer: _ConvNd) -> Mapping[str, Fans]:
    """An output sums in/groups channels at every tap; an input meets a tap in one of `stride` positions an axis."""
    taps = math.prod(layer.kernel_size)
    thinned = taps / math.prod(layer.stride)
    return {"weight": Fans(_terms(layer.in_channels, layer, taps), _terms(layer.out_channels, layer, thinned))}


@weight_fans.register(_ConvTransposeNd)
def _transposed(layer: _ConvTransposeNd) -> Mapping[str, Fans]:
    """The other way round: an input reaches every tap, an output sums one tap in `stride` an axis."""
    taps = math.prod(layer.kernel_size)
    thinned = taps / math.prod(layer.stride)
    return {"weight": Fans(_terms(layer.in_channels, layer, thinned), _terms(layer.out_channels, layer, taps))}


def _terms(channels: int, layer: _ConvNd, taps: float) -> int:
    return max(round(channels / layer.groups * taps), min(channels, 1))


@weight_fans.register(nn.Bilinear)
def _bilinear(layer: nn.Bilinear) -> Mapping[str, Fans]:
    """Each weight serves one entry of either input, so an entry meets 2 · out · in1 · in2 / (in1 + in2) of them."""
    pairs = layer.in1_features * layer.in2_features
    entries = layer.in1_features + layer.in2_features
    return {"weight": Fans(pairs, round(2 * layer.out_features * pairs / entries))}


@weight_fans.register(nn.Embedding)
def _embedding(layer: nn.Embedding) -> Mapping[str, Fans]:
    """A lookup: each output is one weight, times one."""
    return {"weight": Fans(1, layer.embedding_dim)}


_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


@weight_fans.register(nn.RNNBase)
@weight_fans.register(nn.RNNCellBase)
def _recurrent(layer: nn.RNNBase | nn.RNNCellBase) -> Mapping[str, Fans]:
    """Rows are gate blocks stacked; an LSTM's projection `weight_hr` is a matrix without gates."""
    kind = layer.mode if isinstance(layer, nn.RNNBase) else type(layer).__name__
    gates = _GATES.get(kind, 1)
    weights = {n: p for n, p in layer.named_parameters(recurse=False) if n.startswith("weight_")}
    return {n: Fans(p.shape[1], p.shape[0] // (1 if "_hr_" in n else gates)) for n, p in weights.items()}


@weight_fans.register(nn.MultiheadAttention)
def _attention(layer: nn.MultiheadAttention) -> Mapping[str, Fans]:
    """Query, key and value each map to embed_dim; the output projection is a Linear of its own."""
    if layer._qkv_same_embed_dim:
        return {"in_proj_weight": Fans(layer.embed_dim, layer.embed_dim)}
    sizes = {"q": layer.embed_dim, "k": layer.kdim, "v": layer.vdim}
    return {f"{part}_proj_weight": Fans(size, layer.embed_dim) for part, size in sizes.items()}


@weight_fans.register(_NormBase)
@weight_fans.register(nn.LayerNorm)
@weight_fans.register(nn.GroupNorm)
@weight_fans.register(nn.RMSNorm)
@weight_fans.register(nn.PReLU)
def _elementwise(_: nn.Module) -> Mapping[str, Fans]:
    """A scale for each entry: nothing is summed."""
    return {}
