"""The traced graph of a model, its nodes with the user's lines, and what kind of thing a node or a module is."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from steadygrad.errors import SetupError, not_allowed
from steadygrad.tracing import source_line

_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Tanhshrink, nn.Hardshrink,
)  # fmt: skip
_FUNCTIONS = {
    torch.relu, nn.functional.relu, nn.functional.relu6, nn.functional.leaky_relu, nn.functional.elu,
    nn.functional.gelu, nn.functional.silu, nn.functional.mish, nn.functional.hardtanh, nn.functional.hardswish,
    nn.functional.celu, nn.functional.selu, torch.tanh, torch.sigmoid,
}  # fmt: skip
_METHODS = {"relu", "tanh", "sigmoid"}


class _Tracer(fx.Tracer):
    """Takes down the user's line with each node."""

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["source"] = source_line() if node.op in ("call_function", "call_method") else None
        return node


def traced(model: nn.Module) -> fx.GraphModule:
    """Return the model's graph, its nodes with the user's line in `meta["source"]`.

    Raises:
        SetupError: its forward pass depends on values, so that it has no one graph.

    >>> len(traced(nn.Sequential(nn.Linear(1, 1), nn.ReLU())).graph.nodes)
    4
    """
    if not isinstance(model, nn.Module):
        raise TypeError(not_allowed("model", "must be a torch.nn.Module", model))
    try:
        return fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:
        raise SetupError(f"`model` must have a forward pass that can be traced: {error}") from error


def named(node: fx.Node) -> str:
    """Return a node's path or name, with its line where it is known.

    >>> named(list(traced(nn.Sequential(nn.Linear(1, 1))).graph.nodes)[1])
    '`0`'
    """
    source = node.meta.get("source")
    name = str(node.target) if node.op == "call_module" else node.name
    return f"`{name}`" + (f" ({source})" if source else "")


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a linear layer or a convolution with one weight a pair of units.

    >>> is_layer(nn.Linear(1, 1)), is_layer(nn.ConvTranspose1d(1, 1, 1))
    (True, False)
    """
    return isinstance(module, nn.Linear | _ConvNd) and not isinstance(module, _ConvTransposeNd)


def is_affine_norm(module: nn.Module) -> bool:
    """Whether a module normalizes over channels and then scales and shifts each of them.

    >>> is_affine_norm(nn.LayerNorm(3)), is_affine_norm(nn.LayerNorm((2, 3))), is_affine_norm(nn.GroupNorm(1, 3))
    (True, False, True)
    """
    kind = isinstance(module, nn.GroupNorm) or (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1)
    return kind and module.weight is not None and module.bias is not None


def is_activation(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node applies an activation entry by entry."""
    match node.op:
        case "call_module":
            return isinstance(modules[str(node.target)], _POINTWISE)
        case "call_function":
            return node.target in _FUNCTIONS
        case "call_method":
            return node.target in _METHODS
        case _:
            return False


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape that a node had when the graph last ran; None where it did not, or gave no tensor.

    >>> shape_of(next(iter(traced(nn.Identity()).graph.nodes))) is None
    True
    """
    shape: tuple[int, ...] | None = node.meta.get("shape")
    return shape
