"""The bias of a recurrent layer's memory: a gate that starts open lets gradients through time."""

from __future__ import annotations

import math

from torch import nn

from steadygrad.errors import not_allowed
from steadygrad.fans import gates

from .drawing import Draw, draw_
from .recipes import Blocks, Constant, Recipe
from .stream import Stream
from .weights import ModuleT, check_present, check_usable

# LSTM stacks input, forget, cell, output; GRU reset, update, new: the block that keeps the memory is the second.
_KEEPS = 1


def forget_bias_(module: ModuleT, value: float = 1.0) -> ModuleT:
    """Set the bias of every LSTM's forget gate, and of every GRU's update gate, to a number, the other gates' to 0.

    Both biases of a gate are added: one of them gets the number, the other 0. With 1 a memory fades by sigmoid(1) =
    0.73 a step rather than by half.

    Args:
        module: a recurrent layer, or any module that holds some.
        value: finite.

    Returns:
        The module.

    Raises:
        ValueError: the number is not allowed, or the module holds no gated layer with biases.

    >>> layer = forget_bias_(nn.LSTM(2, 1))
    >>> layer.bias_ih_l0.tolist(), layer.bias_hh_l0.tolist()
    ([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0])

    Reference: Jozefowicz, Zaremba and Sutskever 2015, section 3.1.
    """
    if not math.isfinite(value):
        raise ValueError(not_allowed("value", "must be finite", value))
    found = [(name, p, layer) for layer in module.modules() if is_gated(layer) for name, p in layer.named_parameters()]
    biases = [(name, p, layer) for name, p, layer in found if name.startswith("bias_")]
    if not biases:
        raise ValueError(not_allowed("module", "must hold an LSTM or a GRU with biases", type(module).__name__))
    for name, p, _ in biases:
        check_usable(name, p)
    check_present(module, [p for _, p, _ in biases])
    draw_(Draw(p, gate_bias(layer, name, value), None, Stream.named(0, name)) for name, p, layer in biases)
    return module


def is_gated(layer: nn.Module) -> bool:
    """Whether a layer is an LSTM or a GRU.

    >>> is_gated(nn.LSTMCell(1, 1)), is_gated(nn.RNN(1, 1))
    (True, False)
    """
    return isinstance(layer, nn.RNNBase | nn.RNNCellBase) and gates(layer) > 1


def gate_bias(layer: nn.Module, name: str, value: float = 1.0) -> Recipe:
    """Return the recipe of one of a gated layer's biases.

    >>> gate_bias(nn.GRU(1, 1), "bias_ih_l0").words
    'update gate 1, others 0'
    """
    assert isinstance(layer, nn.RNNBase | nn.RNNCellBase)
    if "_ih" not in name:
        return Constant(0.0)
    count = gates(layer)
    numbers = tuple(value if i == _KEEPS else 0.0 for i in range(count))
    return Blocks(numbers, f"{'forget' if count == 4 else 'update'} gate {value:g}, others 0")
