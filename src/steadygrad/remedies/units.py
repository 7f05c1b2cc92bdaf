"""Where a layer's units go: the traced graph from a layer through its activation to the weights that read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd  # fmt: skip

from steadygrad.errors import SetupError

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
_UNITWISE = (_NormBase, nn.Identity, nn.modules.dropout._DropoutNd, nn.Flatten, _MaxPoolNd, _AvgPoolNd,
             _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)  # fmt: skip
_FLATTENS = {torch.flatten}


@dataclass(frozen=True, kw_only=True)
class Units:
    """A layer, what its units pass, and who reads them.

    Attributes:
        path: of the layer.
        layer: a linear layer or a convolution; its outputs are the units.
        norms: batch normalizations before the activation, which hold entries for each unit.
        activation: the node that applies it; None where there is none.
        readers: paths and layers whose weights read the units.
        blocked: why the units cannot be cut off from what follows; empty where they can.
    """

    path: str
    layer: nn.Linear | _ConvNd
    norms: tuple[_NormBase, ...]
    activation: fx.Node | None
    readers: tuple[tuple[str, nn.Linear | _ConvNd], ...]
    blocked: str

    @property
    def count(self) -> int:
        """How many units."""
        return self.layer.weight.shape[0]


def traced(model: nn.Module) -> fx.GraphModule:
    """Return the model's graph.

    Raises:
        SetupError: its forward pass depends on values, so that it has no one graph.

    >>> len(traced(nn.Sequential(nn.Linear(1, 1), nn.ReLU())).graph.nodes)
    4
    """
    try:
        return fx.symbolic_trace(model)
    except Exception as error:
        raise SetupError(f"`model` must have a forward pass that can be traced: {error}") from error


def units_of(graph: fx.GraphModule) -> list[Units]:
    """Return the units of every linear layer and convolution, in the order of execution.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    >>> [(u.path, [path for path, _ in u.readers], u.blocked) for u in units_of(traced(model))]
    [('0', ['3'], ''), ('3', [], 'its output leaves the model')]
    """
    modules = dict(graph.named_modules())
    nodes = [n for n in graph.graph.nodes if n.op == "call_module" and is_layer(modules[n.target])]
    return [_followed(node, modules, _shared(graph)) for node in nodes]


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a linear layer or a convolution with one weight a pair of units.

    >>> is_layer(nn.Linear(1, 1)), is_layer(nn.ConvTranspose1d(1, 1, 1))
    (True, False)
    """
    return isinstance(module, nn.Linear | _ConvNd) and not isinstance(module, _ConvTransposeNd)


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


class _Walk:
    """What was met on the way from a layer."""

    def __init__(self) -> None:
        self.norms: list[_NormBase] = []
        self.activation: fx.Node | None = None
        self.readers: list[tuple[str, Any]] = []
        self.blocked: list[str] = []

    def follow(self, node: fx.Node, modules: dict[str, nn.Module]) -> None:
        for user in node.users:
            module = modules[str(user.target)] if user.op == "call_module" else None
            if user.op == "output":
                self.blocked.append("its output leaves the model")
            elif is_activation(user, modules):
                if self.activation is not None:
                    self.blocked.append("it has more than one activation")
                self.activation = user
                self.follow(user, modules)
            elif module is not None and is_layer(module):
                self._reads(str(user.target), module)
            elif isinstance(module, _UNITWISE) or user.target in _FLATTENS:
                if isinstance(module, _NormBase) and self.activation is None:
                    self.norms.append(module)
                self.follow(user, modules)
            else:
                self.blocked.append(f"`{user.name}` mixes it with others")

    def _reads(self, path: str, module: Any) -> None:
        if isinstance(module, _ConvNd) and module.groups > 1:
            self.blocked.append(f"`{path}` is a grouped convolution")
        self.readers.append((path, module))


def _followed(node: fx.Node, modules: dict[str, nn.Module], shared: set[int]) -> Units:
    walk, layer = _Walk(), modules[str(node.target)]
    assert isinstance(layer, nn.Linear | _ConvNd)
    walk.follow(node, modules)
    if any(id(p) in shared for m in (layer, *(m for _, m in walk.readers)) for p in m.parameters()):
        walk.blocked.append("a weight is used more than once")
    return Units(
        path=str(node.target),
        layer=layer,
        norms=tuple(walk.norms),
        activation=walk.activation,
        readers=tuple(walk.readers),
        blocked=walk.blocked[0] if walk.blocked else "",
    )


def _shared(graph: fx.GraphModule) -> set[int]:
    """Ids of parameters that are tied, or whose module is called more than once."""
    modules = dict(graph.named_modules())
    seen: dict[int, int] = {}
    for node in graph.graph.nodes:
        for p in modules[str(node.target)].parameters() if node.op == "call_module" else ():
            seen[id(p)] = seen.get(id(p), 0) + 1
    return {i for i, times in seen.items() if times > 1}
