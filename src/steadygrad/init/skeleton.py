"""A model with other parameters, and no memory: what a plan would make of it, for `predict` to run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from steadygrad.fans import Layout

from .recipes import Constant, Orthogonal, Recipe, Uniform
from .recipes.recipe import matrices


def skeleton(
    model: nn.Module,
    recipes: Mapping[str, Recipe],
    replaced: Mapping[str, nn.Module],
    layouts: Mapping[str, Layout | None] | None = None,
) -> Any:
    """Return a factory of the model with its parameters filled as a plan says.

    Under the interpreter's fake tensors a fill is the distribution that it stands for, so nothing is drawn.

    Args:
        model: the model; it is left alone.
        recipes: by the parameter's name; others count with the moments that they have.
        replaced: modules that take the place of others.
        layouts: where a parameter's matrices are, by its name; one matrix where it is not told.

    >>> from .recipes import Normal
    >>> made = skeleton(nn.Linear(2, 3), {"weight": Normal(1.0)}, {})()
    >>> made.weight.shape
    torch.Size([3, 2])
    """
    buffers = list(model.buffers())
    copies = {id(b): b.detach().clone() for b in buffers if not b.is_meta}
    at = layouts or {}
    fills = {name: _fill(p, recipes.get(name), at.get(name)) for name, p in model.named_parameters()}

    def factory() -> nn.Module:
        memo: dict[int, Any] = {id(b): _buffer(b, copies) for b in buffers}
        for name, p in model.named_parameters():
            made = torch.empty(p.shape, dtype=p.dtype)
            with torch.no_grad():
                fills[name](made)
            memo[id(p)] = nn.Parameter(made, requires_grad=p.requires_grad)
        # Parameters and buffers are known to the copy already, so it copies the modules alone.
        copied = copy.deepcopy(model, memo)
        for path, module in replaced.items():
            copied.set_submodule(path, copy.deepcopy(module))
        return copied

    return factory


def _buffer(buffer: torch.Tensor, copies: Mapping[int, torch.Tensor]) -> torch.Tensor:
    known = copies.get(id(buffer))
    return torch.zeros(buffer.shape, dtype=buffer.dtype) if known is None else known


def _fill(p: torch.Tensor, recipe: Recipe | None, layout: Layout | None) -> Callable[[torch.Tensor], Any]:
    match recipe:
        case Constant(value=value):
            return lambda made: made.fill_(value)
        case Uniform(bound=bound):
            return lambda made: made.uniform_(-bound, bound)
        case Orthogonal(std=std):
            return lambda made: _orthogonal_(made, std, layout)
        case Recipe():
            std = recipe.rms
            return lambda made: made.normal_(0.0, std)
        case _:
            return _as_it_is(p)


def _orthogonal_(made: torch.Tensor, std: float, layout: Layout | None) -> None:
    """Fill each block as an orthogonal matrix whose entries have this root mean square."""
    for block in made.view(matrices(tuple(made.shape), layout).shape):
        nn.init.orthogonal_(block, gain=std * math.sqrt(max(len(block), block.numel() // max(len(block), 1))))


def _as_it_is(p: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    if p.is_meta or not p.numel():
        return lambda made: made
    values = p.detach().double()
    mean, std = float(values.mean()), float(values.std(correction=0))
    if std == 0:
        return lambda made: made.fill_(mean)
    # A mean that sampling explains is none.
    mean = 0.0 if abs(mean) <= 5 * std / math.sqrt(p.numel()) else mean
    return lambda made: made.normal_(mean, std)
