"""How many inputs a unit sums (fan_in) and how many units an input reaches (fan_out): the one place for layouts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, NamedTuple

import torch
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


class Layout(NamedTuple):
    """Where the matrices of a weight are: `blocks` of them, out x in, one for each tap of a kernel.

    Groups of a convolution, gates of a recurrent layer, query, key and value of attention are blocks. `transposed`
    says that the weight holds the input's axis before the output's.
    """

    blocks: int
    outputs: int
    inputs: int
    taps: tuple[int, ...] = ()
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """How the weight's own memory is cut, before any transposition."""
        sides = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        return (self.blocks, *sides, *self.taps)

    def view(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight seen as [blocks, outputs, inputs, *taps].

        >>> layout = weight_layouts(nn.ConvTranspose1d(4, 6, 3, groups=2))["weight"]
        >>> layout.view(torch.zeros(4, 3, 3)).shape
        torch.Size([2, 3, 2, 3])
        """
        seen = weight.view(self.shape)
        return seen.transpose(1, 2) if self.transposed else seen


@singledispatch
def weight_layouts(layer: nn.Module) -> Mapping[str, Layout]:
    """Return the layout of each weight of a layer by parameter name; empty where nothing is summed.

    Teach it a layer of your own with ``weight_layouts.register(MyLayer)(lambda layer: {"weight": Layout(1, 4, 3)})``.

    Raises:
        TypeError: the layer has parameters of its own, and no rule is registered for it.

    >>> weight_layouts(nn.LSTM(8, 32))["weight_ih_l0"]
    Layout(blocks=4, outputs=32, inputs=8, taps=(), transposed=False)
    """
    if next(layer.parameters(recurse=False), None) is None:
        return {}
    name = type(layer).__name__
    raise TypeError(
        f"`layer` must be of a type whose matrices are known, got {name}. Tell it with "
        f'steadygrad.fans.weight_layouts.register({name})(lambda layer: {{"weight": Layout(blocks, outputs, inputs)}}).'
    )


@weight_fans.register(nn.Linear)
def _linear(layer: nn.Linear) -> Mapping[str, Fans]:
    return {"weight": Fans(layer.in_features, layer.out_features)}


@weight_layouts.register(nn.Linear)
def _linear_layout(layer: nn.Linear) -> Mapping[str, Layout]:
    return {"weight": Layout(1, layer.out_features, layer.in_features)}


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


@weight_layouts.register(_ConvNd)
def _convolution_layout(layer: _ConvNd) -> Mapping[str, Layout]:
    sides = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    return {"weight": Layout(layer.groups, *sides, tuple(layer.kernel_size), isinstance(layer, _ConvTransposeNd))}


@weight_fans.register(nn.Bilinear)
def _bilinear(layer: nn.Bilinear) -> Mapping[str, Fans]:
    """Each weight serves one entry of either input, so an entry meets 2 · out · in1 · in2 / (in1 + in2) of them."""
    pairs = layer.in1_features * layer.in2_features
    entries = layer.in1_features + layer.in2_features
    return {"weight": Fans(pairs, round(2 * layer.out_features * pairs / entries))}


@weight_layouts.register(nn.Bilinear)
def _bilinear_layout(layer: nn.Bilinear) -> Mapping[str, Layout]:
    return {"weight": Layout(1, layer.out_features, layer.in1_features * layer.in2_features)}


@weight_fans.register(nn.Embedding)
@weight_fans.register(nn.EmbeddingBag)
def _embedding(layer: nn.Embedding | nn.EmbeddingBag) -> Mapping[str, Fans]:
    """A lookup: each output is one weight, times one."""
    return {"weight": Fans(1, layer.embedding_dim)}


@weight_layouts.register(nn.Embedding)
@weight_layouts.register(nn.EmbeddingBag)
def _embedding_layout(layer: nn.Embedding | nn.EmbeddingBag) -> Mapping[str, Layout]:
    return {"weight": Layout(1, layer.embedding_dim, layer.num_embeddings, (), True)}


_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


@weight_fans.register(nn.RNNBase)
@weight_fans.register(nn.RNNCellBase)
def _recurrent(layer: nn.RNNBase | nn.RNNCellBase) -> Mapping[str, Fans]:
    """Rows are gate blocks stacked; an LSTM's projection `weight_hr` is a matrix without gates."""
    return {name: Fans(found.inputs, found.outputs) for name, found in _recurrent_layout(layer).items()}


@weight_layouts.register(nn.RNNBase)
@weight_layouts.register(nn.RNNCellBase)
def _recurrent_layout(layer: nn.RNNBase | nn.RNNCellBase) -> Mapping[str, Layout]:
    weights = {n: p for n, p in layer.named_parameters(recurse=False) if n.startswith("weight_")}
    blocks = {n: 1 if "_hr_" in n else gates(layer) for n in weights}
    return {n: Layout(blocks[n], p.shape[0] // blocks[n], p.shape[1]) for n, p in weights.items()}


def gates(layer: nn.RNNBase | nn.RNNCellBase) -> int:
    """Return how many gate blocks a recurrent layer's weights and biases stack.

    >>> gates(nn.LSTM(2, 3)), gates(nn.GRUCell(2, 3)), gates(nn.RNN(2, 3))
    (4, 3, 1)
    """
    return _GATES.get(layer.mode if isinstance(layer, nn.RNNBase) else type(layer).__name__, 1)


@weight_fans.register(nn.MultiheadAttention)
def _attention(layer: nn.MultiheadAttention) -> Mapping[str, Fans]:
    """Query, key and value each map to embed_dim; the output projection is a Linear of its own."""
    if layer._qkv_same_embed_dim:
        return {"in_proj_weight": Fans(layer.embed_dim, layer.embed_dim)}
    sizes = {"q": layer.embed_dim, "k": layer.kdim, "v": layer.vdim}
    return {f"{part}_proj_weight": Fans(size, layer.embed_dim) for part, size in sizes.items()}


@weight_layouts.register(nn.MultiheadAttention)
def _attention_layout(layer: nn.MultiheadAttention) -> Mapping[str, Layout]:
    blocks = 3 if layer._qkv_same_embed_dim else 1
    return {name: Layout(blocks, found.fan_out, found.fan_in) for name, found in _attention(layer).items()}


@weight_layouts.register(_NormBase)
@weight_layouts.register(nn.LayerNorm)
@weight_layouts.register(nn.GroupNorm)
@weight_layouts.register(nn.RMSNorm)
@weight_layouts.register(nn.PReLU)
@weight_fans.register(_NormBase)
@weight_fans.register(nn.LayerNorm)
@weight_fans.register(nn.GroupNorm)
@weight_fans.register(nn.RMSNorm)
@weight_fans.register(nn.PReLU)
def _elementwise(_: nn.Module) -> Mapping[str, Any]:
    """A scale for each entry: nothing is summed."""
    return {}
