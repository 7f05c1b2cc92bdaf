"""Every parameter of a model once, with the layer that it belongs to and its place there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import singledispatch

import torch
from torch import nn

from steadygrad.errors import unknown_name
from steadygrad.fans import Fans, Layout, weight_fans, weight_layouts

from .forget_gate import gate_bias, is_gated
from .recipes import Constant, Recipe
from .weights import check_usable


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter and what it is.

    Attributes:
        name: in the model; the first, where it is tied.
        others: its other names.
        path: of its layer.
        layer: the first that holds it.
        shape: as the model has it.
        fans: of a weight that is summed with; None for others.
        layout: of such a weight.
        plain: what it starts as where it is no such weight: a norm's scale, a bias; None for weights.
    """

    name: str
    others: tuple[str, ...]
    path: str
    layer: nn.Module
    shape: tuple[int, ...]
    fans: Fans | None
    layout: Layout | None
    plain: Recipe | None


@singledispatch
def plain_parameters(layer: nn.Module) -> Mapping[str, Recipe]:
    """Return what the parameters of a layer start as that are neither weights that are summed with nor biases.

    Scales of norms start as 1. Teach it a layer of your own with
    ``plain_parameters.register(MyNorm)(lambda layer: {"scale": Constant(1.0)})``.

    >>> plain_parameters(nn.LayerNorm(2))["weight"].words
    'ones'
    """
    return {} if weight_fans(layer) else {name: Constant(1.0) for name, _ in layer.named_parameters(recurse=False)}


@plain_parameters.register(nn.PReLU)
def _prelu(layer: nn.PReLU) -> Mapping[str, Recipe]:
    # He et al. 2015, section 2.1: slopes start at 0.25.
    return {"weight": Constant(0.25)}


def parameters_of(model: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> list[Parameter]:
    """Return the parameters that are wanted, in the order of `named_parameters()`.

    Args:
        model: any module.
        wanted: by name.

    Raises:
        TypeError: no rule is registered for a layer that has one of them.
        ValueError: one of them cannot be drawn, or has a fan of zero.

    >>> [p.name for p in parameters_of(nn.Linear(2, 3))]
    ['weight', 'bias']
    """
    names: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    found: dict[int, Parameter] = {}
    for path, layer in model.named_modules():
        for name, tensor in layer.named_parameters(recurse=False):
            known = names[id(tensor)]
            if id(tensor) not in found and any(wanted(one) for one in known):
                found[id(tensor)] = _looked_at(path, layer, name, tensor, known)
    return list(found.values())


def _looked_at(path: str, layer: nn.Module, name: str, tensor: torch.Tensor, names: list[str]) -> Parameter:
    full = f"{path}.{name}".lstrip(".")
    check_usable(full, tensor)
    weights = _weights(layer, full)
    if name in weights:
        check_usable(full, tensor, weights[name])
    return Parameter(
        name=names[0],
        others=tuple(names[1:]),
        path=path,
        layer=layer,
        shape=tuple(tensor.shape),
        fans=weights.get(name),
        layout=weight_layouts(layer)[name] if name in weights else None,
        plain=None if name in weights else _plain(layer, name, full),
    )


def _weights(layer: nn.Module, name: str) -> Mapping[str, Fans]:
    try:
        return weight_fans(layer)
    except TypeError as error:
        raise TypeError(f"{error} Or leave {name!r} as it is: skip=[{name!r}].") from None


def _plain(layer: nn.Module, name: str, full: str) -> Recipe:
    if "bias" in name:
        return gate_bias(layer, name) if is_gated(layer) else Constant(0.0)
    known = plain_parameters(layer)
    if name not in known:
        kind = type(layer).__name__
        raise TypeError(
            f"`{full}` must be known as a weight or as something else, got neither from {kind}. Tell it with "
            f"steadygrad.fans.weight_fans.register({kind}), or leave it as it is: skip=[{full!r}]."
        )
    return known[name]


def selection(model: nn.Module, only: Collection[str], skip: Collection[str]) -> Callable[[str], bool]:
    """Return whether a parameter is wanted, by its name.

    Args:
        model: whose names they are.
        only: names of parameters or modules, or patterns with *; everything where it is empty.
        skip: the same, for what stays as it is.

    Raises:
        ValueError: a pattern that nothing has.

    >>> wanted = selection(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), ["1"], ["*.bias"])
    >>> [name for name in ("0.weight", "1.weight", "1.bias") if wanted(name)]
    ['1.weight']
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for argument, patterns in (("only", only), ("skip", skip)):
        if isinstance(patterns, str):
            raise ValueError(f"`{argument}` must be a collection of names, got the one name {patterns!r}.")
        for pattern in patterns:
            if not any(matches(name, pattern) for name in names):
                modules = [path for path, _ in model.named_modules() if path]
                raise ValueError(unknown_name(argument, pattern, [*names, *modules][:40]))

    def wanted(name: str) -> bool:
        chosen = not only or any(matches(name, pattern) for pattern in only)
        return chosen and not any(matches(name, pattern) for pattern in skip)

    return wanted


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern names a parameter, or a module that it is in.

    >>> matches("blocks.3.fc.weight", "blocks.3"), matches("blocks.33.weight", "blocks.3")
    (True, False)
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
