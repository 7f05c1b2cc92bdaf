"""Whether a loss falls along its own gradient as fast as the gradient says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from steadygrad.setup.parts import mapped, tensors_in

from .scalar_loss import outputs_of

# Outputs are moved by these parts of their size, either way. Differences to both sides leave out the curvature; a loss
# with a kink or a steep edge within one of them has the slope of its gradient within another.
_STEPS = (1e-2, 1e-3, 1e-4, 1e-5)

# A difference of losses below so many roundings of single precision says nothing.
_ROUNDINGS = 100 * torch.finfo(torch.float32).eps
_PRECISE = (torch.float32, torch.float64)


def loss_slope(loss_fn: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> float:
    """Return how fast a loss falls against its gradient, by the speed that the gradient says: 1 for a true gradient.

    With the gradient g of a loss L at outputs z it is (L(z + hg) - L(z - hg)) / (2h |g|^2), of some steps h the one
    that is nearest to 1. Outputs that are cut from the graph within the loss, as weights that are not to be learned,
    move the loss and not the gradient: then it may be anything. The loss draws the same random numbers at each call:
    run this in a block that puts their generators back.

    Args:
        loss_fn: takes (outputs, targets), returns a scalar.
        outputs: a tensor, or several in sequences and mappings.
        targets: as the loss takes them.

    Returns:
        The quotient; NaN where there is no gradient, or where rounding hides the differences, as in half precision.

    >>> z, y = torch.tensor([1.0, 2.0]), torch.zeros(2)
    >>> round(loss_slope(lambda z, y: (z - y).square().sum(), z, y), 3)
    1.0
    >>> round(loss_slope(lambda z, y: -(z.detach() * z.log()).sum(), z, y), 1)
    1.3
    >>> abs(round(loss_slope(lambda z, y: (z / z.detach()).sum(), z, y), 3))
    0.0
    """
    leaves = mapped(lambda x: x.detach().clone().requires_grad_(x.is_floating_point()), outputs)
    moved = [x for x in tensors_in(leaves).values() if x.requires_grad]

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        value: torch.Tensor = loss_fn(leaves, targets)
        return value

    with torch.enable_grad():
        value = loss()
        given = torch.autograd.grad(value, moved, allow_unused=True) if moved and value.requires_grad else ()
    slopes = [(x, x.detach().clone(), g) for x, g in zip(moved, given, strict=False) if g is not None]
    squares = [(float(g.double().square().sum()), float(was.double().square().sum())) for _, was, g in slopes]
    square = sum(given for given, _ in squares)
    # A tensor counts by its share of the gradient: of large ones that have none a step is no part.
    size = math.sqrt(sum(given * held for given, held in squares) / square) if 0 < square < math.inf else math.nan
    if not size > 0 or any(x.dtype not in _PRECISE for x in moved):
        return math.nan

    def at(step: float) -> float:
        for x, was, g in slopes:
            x.copy_(was + step * g)
        return float(loss())

    steps = [part * size / math.sqrt(square) for part in _STEPS]
    seen = [step for step in steps if step * square > _ROUNDINGS * abs(float(value.detach()))]
    with torch.no_grad():
        found = [(at(step) - at(-step)) / (2 * step * square) for step in seen]
    return min((x for x in found if math.isfinite(x)), key=lambda x: abs(x - 1), default=math.nan)


def slope_of_weights(model: nn.Module, inputs: Any, targets: Any, loss_fn: Callable[[Any, Any], Any]) -> float:
    """Return what `loss_slope` does, of the weights in place of the outputs: what a model cuts itself counts too.

    Args:
        model: whose weights are moved, in copies; run this in a block that puts back what a forward pass changes.
        inputs: of a batch.
        targets: of the same.
        loss_fn: takes (outputs, targets), returns a scalar.

    >>> x, model = torch.randn(32, 2, generator=torch.Generator().manual_seed(0)), nn.Linear(2, 1)
    >>> round(slope_of_weights(model, x, x[:, :1], nn.MSELoss()), 2)
    1.0
    """
    runs = _Run(model)

    def loss(weights: Any, targets: Any) -> Any:
        return loss_fn(torch.func.functional_call(runs, weights, (inputs,)), targets)

    return loss_slope(loss, {name: p for name, p in runs.named_parameters() if p.requires_grad}, targets)


class _Run(nn.Module):
    """A model that takes a batch's inputs in whatever form."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return outputs_of(self.model, inputs)
