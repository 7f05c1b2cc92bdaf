"""The weights of a module, each once, looked at before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from steadygrad.errors import not_allowed
from steadygrad.fans import Fans, Layout, weight_fans, weight_layouts

from .drawing import Draw, draw_
from .recipes import Constant, Recipe
from .stream import Stream

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Weight:
    """A weight that a layer sums with.

    Attributes:
        path: the parameter's name in the module, ``"blocks.3.fc.weight"``.
        layer: whose it is.
        tensor: the parameter.
        fans: as the layer's arithmetic uses it.
        layout: where its matrices are.
    """

    path: str
    layer: nn.Module
    tensor: torch.Tensor
    fans: Fans
    layout: Layout


RecipeOf = Callable[[Weight], Recipe]


def weights(module: nn.Module) -> Iterator[Weight]:
    """Yield each weight once, in the order of `modules()`; one that two layers share belongs to the first.

    Raises:
        TypeError: no rule is registered for a layer; the message says how to register one.
        ValueError: a weight is not yet materialized, an integer, or has a fan of zero.

    >>> [w.path for w in weights(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))]
    ['0.weight']
    """
    seen: set[int] = set()
    for path, layer in module.named_modules():
        for name, fans in weight_fans(layer).items():
            tensor = getattr(layer, name)
            if id(tensor) not in seen:
                seen.add(id(tensor))
                full = f"{path}.{name}".lstrip(".")
                check_usable(full, tensor, fans)
                yield Weight(full, layer, tensor, fans, weight_layouts(layer)[name])


def check_usable(path: str, tensor: torch.Tensor, fans: Fans | None = None) -> None:
    """Raise a ValueError where a parameter cannot be drawn.

    >>> check_usable("fc.weight", torch.zeros(2, 2))
    """
    if is_lazy(tensor):
        raise ValueError(f"`{path}` must be materialized first: run the model once on a batch.")
    if not tensor.is_floating_point():
        raise ValueError(not_allowed(path, "must be of a floating point type", tensor.dtype))
    if fans is not None and min(fans) < 1:
        raise ValueError(not_allowed(path, "must have fans >= 1", tuple(fans)))


def fill_weights_(module: ModuleT, recipe_of: RecipeOf, *, generator: torch.Generator | None = None) -> ModuleT:
    """Draw every weight of a module by its recipe and set its layers' biases to zero; all or, on an error, none.

    Args:
        module: a layer, or any module that holds layers.
        recipe_of: the recipe of a weight.
        generator: gives each weight, in the order of `modules()`, the key of a stream of its own.

    Raises:
        TypeError: no rule is registered for a layer.
        ValueError: a weight is not allowed, or there is none.

    >>> from .recipes import Constant
    >>> fill_weights_(nn.Linear(2, 1), lambda weight: Constant(3.0)).weight.tolist()
    [[3.0, 3.0]]
    """
    found = list(weights(module))
    if not found:
        raise ValueError(not_allowed("module", "must hold a layer with a weight", type(module).__name__))
    planned = [(weight, _checked(weight, recipe_of(weight))) for weight in found]
    biases = list(_biases({id(weight.layer): weight.layer for weight in found}.values()))
    check_present(module, [weight.tensor for weight in found] + biases)
    draws = [Draw(w.tensor, recipe, w.layout, Stream.drawn(generator)) for w, recipe in planned]
    nothing = Stream.named(0, "")
    draw_(draws + [Draw(bias, Constant(0.0), None, nothing) for bias in biases])
    return module


def _checked(weight: Weight, recipe: Recipe) -> Recipe:
    problem = recipe.check(tuple(weight.tensor.shape), weight.layout)
    if problem:
        raise ValueError(f"`{weight.path}` {problem}.")
    return recipe


def check_present(module: nn.Module, tensors: Iterable[torch.Tensor]) -> None:
    """Raise a ValueError where a parameter has no memory to be filled.

    >>> check_present(nn.ReLU(), [])
    """
    if any(tensor.is_meta for tensor in tensors):
        name = type(module).__name__
        raise ValueError(f'`module` must have memory to fill, got {name} on "meta": call to_empty(device=...) first.')


def _biases(layers: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    for layer in layers:
        for name, parameter in layer.named_parameters(recurse=False):
            if "bias" in name:
                yield parameter
