"""A few small steps along the gradient, taken and undone: what a parameter gets, and whether it moves from others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from .scalar_loss import Loss, outputs_of, scalar_loss, unit_gradients
from .untouched import untouched

# A zero head keeps the layers before it waiting for one step, a zero last layer in each branch for one more.
STEPS = 3

# A step moves a tensor by this share of its size: far above rounding, far below what changes a network's nature.
_SHARE = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualSteps:
    """What the steps showed, by name of the parameter; parameters that require no gradient are left out.

    Attributes:
        reached: whether the loss depends on the parameter at all, as far as autograd knows.
        gradient: root mean square of the gradient over its entries and the steps that had one; 0 where all were zero.
        after: values after the last step.
        losses: before each step.
    """

    reached: dict[str, bool]
    gradient: dict[str, float]
    after: dict[str, torch.Tensor]
    losses: tuple[float, ...]


def virtual_steps(model: nn.Module, batches: Sequence[tuple[Any, Any]], loss_fn: Loss | None = None) -> VirtualSteps:
    """Take three steps of steepest descent, each tensor by a hundredth of its own size, and put everything back.

    Units that are alike, and tensors that are copies of each other in the same place, stay so under such steps, since
    equal gradients move equal numbers equally. Dropout is off meanwhile: it is no difference between units.

    Args:
        model: a module.
        batches: (inputs, targets) pairs, used in turn.
        loss_fn: takes (output, targets); without it the output gets independent unit gradients.

    Raises:
        SetupError: the loss is not a scalar, or has no gradient.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> _ = nn.init.zeros_(model[1].weight)
    >>> virtual_steps(model, [(torch.ones(4, 2), None)]).gradient["0.weight"] > 0
    True
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    squares: dict[str, list[float]] = {name: [] for name in trained}
    reached, losses = dict.fromkeys(trained, False), []
    modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    with untouched(*modules), torch.enable_grad(), _put_back(list(trained.values())):
        _dropout_off(modules)
        for step in range(STEPS):
            loss, found = _gradients(model, *batches[step % len(batches)], loss_fn, trained)
            losses.append(loss)
            for name, gradient in found.items():
                reached[name] = reached[name] or gradient is not None
                squares[name].append(0.0 if gradient is None else _moved(trained[name], gradient))
        after = {name: p.detach().clone() for name, p in trained.items()}
    return VirtualSteps(
        reached=reached,
        gradient={name: _root_mean([x for x in found if x]) for name, found in squares.items()},
        after=after,
        losses=tuple(losses),
    )


def _gradients(
    model: nn.Module, inputs: Any, targets: Any, loss_fn: Loss | None, trained: Mapping[str, torch.Tensor]
) -> tuple[float, dict[str, torch.Tensor | None]]:
    output = outputs_of(model, inputs)
    loss = unit_gradients(output) if loss_fn is None else scalar_loss(loss_fn(output, targets))
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return float(loss.detach()), dict(zip(trained, found, strict=True))


@torch.no_grad()
def _moved(parameter: torch.Tensor, gradient: torch.Tensor) -> float:
    """Step against the gradient where it is finite, and return its mean square."""
    dense = (gradient.to_dense() if gradient.is_sparse else gradient).detach()
    g = torch.view_as_real(dense).double() if dense.is_complex() else dense.double()
    mean = float(g.square().mean()) if g.numel() else 0.0
    if not 0 < mean < math.inf:
        return 0.0 if mean == 0 else math.nan
    size = float(torch.linalg.vector_norm(parameter.detach(), dtype=None).double()) / math.sqrt(parameter.numel())
    usual = 1 / math.sqrt(max(parameter[0].numel() if parameter.dim() > 1 else 1, 1))
    parameter.sub_((dense.double() if not dense.is_complex() else dense) * (_SHARE * (size or usual) / math.sqrt(mean)))
    return mean


def _root_mean(squares: list[float]) -> float:
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


@contextmanager
def _put_back(parameters: list[torch.Tensor]) -> Iterator[None]:
    values = [p.detach().clone() for p in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)


def _dropout_off(modules: list[nn.Module]) -> None:
    for module in modules:
        for part in module.modules():
            if isinstance(part, _DropoutNd):
                part.training = False
