"""The optimizer's memory of some units, replaced by what the others have."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from steadygrad.errors import not_allowed

# State that points in a direction: none is known for a new unit. All other state is a size, such as second moments.
_DIRECTIONS = frozenset({"exp_avg", "momentum_buffer", "prev", "grad_avg"})


def reset_rows_(
    optimizer: torch.optim.Optimizer, parameter: Tensor, dim: int, positions: Tensor, rows: slice = slice(None)
) -> torch.optim.Optimizer:
    """Give entries of a parameter along a dimension the optimizer state that live ones have.

    Directions (momentum, first moments) become 0; sizes (second moments, accumulated squares, step sizes) become the
    mean over the others, so that the first steps of a new unit are as long as those of the rest. Averages of the
    parameter itself (ASGD) become the parameter.

    Args:
        optimizer: whose state is changed; one that has none for the parameter is left alone.
        parameter: of the optimizer.
        dim: along which the units lie.
        positions: the new units.
        rows: the part along the first dimension to look at, such as a group's filters.

    >>> weight = torch.nn.Parameter(torch.zeros(3, 1))
    >>> optimizer = torch.optim.Adam([weight])
    >>> weight.grad = torch.tensor([[0.0], [1.0], [3.0]]); optimizer.step()
    >>> _ = reset_rows_(optimizer, weight, 0, torch.tensor([0]))
    >>> optimizer.state[weight]["exp_avg_sq"].flatten()
    tensor([0.0050, 0.0010, 0.0090])
    """
    for name, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, Tensor) and value.ndim == parameter.ndim and value.shape[dim] == parameter.shape[dim]:
            _reset_(name, value[rows], parameter[rows], dim, positions)
    return optimizer


def _reset_(name: str, value: Tensor, parameter: Tensor, dim: int, positions: Tensor) -> None:
    with torch.no_grad():
        if name == "ax":
            value.index_copy_(dim, positions, parameter.detach().index_select(dim, positions).to(value.dtype))
        elif name in _DIRECTIONS:
            value.index_fill_(dim, positions, 0)
        else:
            live = torch.ones(value.shape[dim], dtype=torch.bool, device=value.device)
            live[positions] = False
            others = value.index_select(dim, live.nonzero().flatten())
            fill = others.mean(dim, keepdim=True) if len(positions) < len(live) else torch.zeros_like(value[:1])
            value.index_copy_(dim, positions, fill.expand_as(value.index_select(dim, positions)))


def check_optimizer(optimizer: object) -> None:
    """Raise, before anything is changed, unless it is an optimizer or None.

    >>> check_optimizer("adam")
    Traceback (most recent call last):
    TypeError: `optimizer` must be a torch.optim.Optimizer, or None, got 'adam'.
    """
    if optimizer is not None and not isinstance(getattr(optimizer, "state", None), Mapping):
        raise TypeError(not_allowed("optimizer", "must be a torch.optim.Optimizer, or None", optimizer))
