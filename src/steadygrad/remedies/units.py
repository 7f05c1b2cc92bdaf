"""Where a layer's units go: the traced graph from a layer through its activation to the weights that read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .place import Place
from .traced import is_affine_norm, is_layer, shape_of
from .walk import Reader, Walk


@dataclass(frozen=True, kw_only=True)
class Units:
    """A layer, what its units pass, and who reads them.

    Attributes:
        path: of the layer.
        layer: a linear layer or a convolution, whose outputs are the units; or a layer or group normalization with
            scale and shift, whose channels are.
        norms: batch normalizations before the activation, which hold entries for each unit.
        activation: the node that applies it; None where there is none.
        place: where the units lie in what goes into the activation.
        readers: the layers whose weights read the units.
        blocked: why the units cannot be cut off from what follows; empty where they can.
        altered: why what readers see is no more the activation alone (a sum, another activation, a normalization);
            empty where it is.
    """

    path: str
    layer: nn.Linear | _ConvNd | nn.LayerNorm | nn.GroupNorm
    norms: tuple[_NormBase, ...]
    activation: fx.Node | None
    place: Place
    readers: tuple[Reader, ...]
    blocked: str
    altered: str

    @property
    def count(self) -> int:
        """How many units."""
        return self.layer.weight.shape[0]


def units_of(graph: fx.GraphModule) -> list[Units]:
    """Return the units of every linear layer, convolution, and layer or group normalization, in order of execution.

    Where the graph has run (`activity_on`) the shapes decide what an operator does to the units; else it is taken to be
    what its name says.

    >>> from steadygrad.remedies.traced import traced
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    >>> [(u.path, [reader.path for reader in u.readers], u.blocked) for u in units_of(traced(model))]
    [('0', ['3'], ''), ('3', [], 'its output leaves the model')]
    """
    modules, shared = dict(graph.named_modules()), _shared(graph)
    nodes = [n for n in graph.graph.nodes if n.op == "call_module" and _has_units(modules[n.target])]
    return [_followed(node, modules, shared) for node in nodes]


def _has_units(module: nn.Module) -> bool:
    return is_layer(module) or is_affine_norm(module)


def _followed(node: fx.Node, modules: dict[str, nn.Module], shared: set[int]) -> Units:
    layer: Any = modules[str(node.target)]
    walk, shape = Walk(modules, layer.weight.shape[0]), shape_of(node)
    last = isinstance(layer, nn.Linear | nn.LayerNorm) and shape is not None
    walk.follow(node, Place(dim=len(shape) - 1 if last and shape is not None else 1))
    if any(id(p) in shared for m in (layer, *(r.layer for r in walk.readers.values())) for p in m.parameters()):
        walk.blocked.append("a weight is used more than once")
    return Units(
        path=str(node.target),
        layer=layer,
        norms=tuple(walk.norms),
        activation=walk.activation,
        place=walk.place,
        readers=tuple(walk.readers.values()),
        blocked=walk.blocked[0] if walk.blocked else "",
        altered=walk.altered[0] if walk.altered else "",
    )


def _shared(graph: fx.GraphModule) -> set[int]:
    """Ids of parameters that are tied, or whose module is called more than once."""
    modules = dict(graph.named_modules())
    seen: dict[int, int] = {}
    for node in graph.graph.nodes:
        for p in modules[str(node.target)].parameters() if node.op == "call_module" else ():
            seen[id(p)] = seen.get(id(p), 0) + 1
    return {i for i, times in seen.items() if times > 1}
