"""The way of a layer's units through the operators behind it, up to the weights that read them."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd  # fmt: skip

from .place import Place, reshaped
from .traced import is_activation, is_layer, named, shape_of

_POOLS = (_MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
_POOL_FUNCTIONS = {
    getattr(functional, f"{kind}_pool{n}d"): n
    for n in (1, 2, 3)
    for kind in ("max", "avg", "adaptive_avg", "adaptive_max")
}
_KEEPS = (nn.Identity, nn.modules.dropout._DropoutNd)
_KEEP_FUNCTIONS = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
_KEEP_METHODS = {"contiguous", "clone"}
_RESHAPES = {torch.flatten, torch.reshape}
_RESHAPE_METHODS = {"flatten", "reshape", "view"}
# Entry by entry: what comes out at a unit's place is the unit's and its partners' alone.
_MERGES = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv, torch.add,
    torch.sub, torch.mul, torch.div,
}  # fmt: skip
_MERGE_METHODS = {"add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_"}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A layer whose weights read units.

    Attributes:
        path: of the layer.
        layer: a linear layer or a convolution.
        place: where the units lie in its input.
    """

    path: str
    layer: nn.Linear | _ConvNd
    place: Place


class Walk:
    """What was met on the way from a layer."""

    def __init__(self, modules: dict[str, nn.Module], count: int) -> None:
        self.modules, self.count = modules, count
        self.norms: list[_NormBase] = []
        self.activation: fx.Node | None = None
        self.place = Place(dim=1)
        self.readers: dict[str, Reader] = {}
        self.blocked: list[str] = []
        self.altered: list[str] = []
        self._seen: set[tuple[str, bool]] = set()

    def follow(self, node: fx.Node, place: Place, *, active: bool = False) -> None:
        """Go on to all that use a node; `active` once the activation was passed."""
        for user in node.users:
            if (user.name, active) not in self._seen and not _asks_shape(user):
                self._seen.add((user.name, active))
                self._meet(user, node, place, active)

    def _meet(self, user: fx.Node, node: fx.Node, place: Place, active: bool) -> None:
        module = self.modules[str(user.target)] if user.op == "call_module" else None
        if user.op == "output":
            self.blocked.append("its output leaves the model")
        elif is_activation(user, self.modules):
            self._activates(user, place, active)
        elif module is not None and is_layer(module):
            self._reads(user, module, node, place)
        elif isinstance(module, _NormBase):
            self._normalizes(user, module, place, active)
        elif _merges(user):
            self._joins(user, node, place, active)
        else:
            self._passes(user, module, node, place, active)

    def _activates(self, user: fx.Node, place: Place, active: bool) -> None:
        if active:
            self.altered.append(f"{named(user)} changes it")
        elif self.activation not in (None, user):
            self.blocked.append("it has more than one activation")
        else:
            self.activation, self.place = user, place
        self.follow(user, place, active=True)

    def _reads(self, user: fx.Node, module: Any, node: fx.Node, place: Place) -> None:
        shape = shape_of(node)
        dim = place.dim if shape is None else len(shape) - 1 if isinstance(module, nn.Linear) else 1
        if shape is None:  # the layer's own inputs tell how many belong to a unit
            place = Place(dim=dim, inner=max(1, _inputs(module) // self.count))
        elif dim != place.dim or (isinstance(module, _ConvNd) and len(shape) != module.weight.ndim):
            self.blocked.append(f"{named(user)} reads along another dimension")
        self.readers[str(user.target)] = Reader(path=str(user.target), layer=module, place=place)

    def _normalizes(self, user: fx.Node, module: _NormBase, place: Place, active: bool) -> None:
        if place != Place(dim=1) and shape_of(user) is not None:
            self.blocked.append(f"{named(user)} normalizes along another dimension")
        if active:
            self.altered.append(f"{named(user)} normalizes it")
        else:
            self.norms.append(module)
        self.follow(user, place, active=active)

    def _joins(self, user: fx.Node, node: fx.Node, place: Place, active: bool) -> None:
        tensors = [a for a in user.args if isinstance(a, fx.Node)]
        if shape_of(user) != shape_of(node) or (len(tensors) < len(user.args) and not _is_scaling(user)):
            self.blocked.append(f"{named(user)} spreads it over others")
        if active:
            self.altered.append(f"{named(user)} puts others to it" if len(tensors) > 1 else f"{named(user)} changes it")
        self.follow(user, place, active=active)

    def _passes(self, user: fx.Node, module: nn.Module | None, node: fx.Node, place: Place, active: bool) -> None:
        moved = _moved(user, module, node, place)
        if moved is None:
            what = "normalizes over all units, so that the others would change" if _is_mixing(user, module) else ""
            self.blocked.append(f"{named(user)} {what or 'mixes it with others'}")
        else:
            self.follow(user, moved, active=active)


def _asks_shape(node: fx.Node) -> bool:
    is_attribute = node.target is getattr and node.args[1:] and node.args[1] in ("shape", "ndim", "device", "dtype")
    return bool(is_attribute) or (node.op == "call_method" and node.target in ("size", "dim", "numel"))


def _merges(node: fx.Node) -> bool:
    return node.target in (
        _MERGES if node.op == "call_function" else _MERGE_METHODS if node.op == "call_method" else ()
    )


def _is_scaling(node: fx.Node) -> bool:
    return all(isinstance(a, fx.Node | int | float) for a in node.args)


def _is_mixing(node: fx.Node, module: nn.Module | None) -> bool:
    functions = {functional.layer_norm, functional.group_norm, functional.rms_norm}
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm) or node.target in functions


def _moved(user: fx.Node, module: nn.Module | None, node: fx.Node, place: Place) -> Place | None:
    """Return where an operator that keeps units apart puts them; None where it does not."""
    before, after = shape_of(node), shape_of(user)
    if isinstance(module, _KEEPS) or (user.op != "call_module" and user.target in _KEEP_FUNCTIONS | _KEEP_METHODS):
        return place
    if isinstance(module, nn.Flatten) or (user.op != "call_module" and user.target in _RESHAPES | _RESHAPE_METHODS):
        return place if before is None or after is None else reshaped(place, before, after)
    if _is_mean(user):
        return _averaged(user, place, before)
    pooled = int(type(module).__name__[-2]) if isinstance(module, _POOLS) else _POOL_FUNCTIONS.get(user.target)
    return place if pooled is not None and (before is None or place.dim < len(before) - pooled) else None


def _is_mean(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target == "mean") or node.target is torch.mean


def _averaged(node: fx.Node, place: Place, before: tuple[int, ...] | None) -> Place | None:
    """Return where units lie after a mean over other dimensions than theirs and the first."""
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = (given,) if isinstance(given, int) else given
    if before is None or not isinstance(dims, tuple | list) or not all(isinstance(d, int) for d in dims):
        return None
    over = {int(d) % len(before) for d in dims}
    kept = len(node.args) > 2 or node.kwargs.get("keepdim")
    lower = 0 if kept else sum(d < place.dim for d in over)
    plain = place.outer == place.inner == 1 and not over & {0, place.dim}
    return Place(dim=place.dim - lower) if plain else None


def _inputs(layer: Any) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)
