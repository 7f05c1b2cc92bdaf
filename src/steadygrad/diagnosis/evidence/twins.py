"""Losses that hold two outputs of one form against each other: whether pairs that agree cost more than others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from steadygrad.setup.parts import mapped, tensors_in

from .unregistered import leaves

# What a temperature or a margin may have of numbers that are trained: a matrix in between may turn any pair around.
_MOST = 1


def twins(
    output: Any, targets: Any, loss_fn: Callable[[Any, Any], Any], shifts: int
) -> tuple[float, list[float]] | None:
    """Return what it costs that both say the same of each example, and what it costs that they say it of others.

    Each of the two takes a turn at being what both say. None where the loss is no such: where there are not two outputs
    of one form, where the targets say more than which of them belong together, as the numbers of the examples or
    nothing do, or where the loss has parameters beside a number.

    Args:
        output: the model's.
        targets: of the same batch.
        loss_fn: takes (outputs, targets).
        shifts: how many other examples each is held against.

    >>> def far(outputs, _): return -(outputs[0] - outputs[1]).square().sum()
    >>> x = torch.tensor([[1.0], [2.0], [4.0]])
    >>> twins((x, x), torch.zeros(3), far, shifts=1)
    (-0.0, [-14.0])
    """
    both = list(tensors_in(output).values())
    if len(both) != 2 or both[0].shape != both[1].shape or both[0].dim() < 2 or not both[0].is_floating_point():
        return None
    held = mapped(torch.Tensor.detach, output)
    if not _tell_pairs_alone(held, targets, loss_fn, len(both[0])) or _has_parameters(held, targets, loss_fn):
        return None

    def loss(said: torch.Tensor, shift: int) -> float:
        each = iter((said, said.roll(shift, 0)))
        with torch.no_grad():
            return float(loss_fn(mapped(lambda _: next(each), held), targets))

    costs = [[loss(x.detach(), shift) for shift in range(shifts + 1)] for x in both]
    # The larger cost of the right pairs stands beside the smaller of the wrong ones where it is the worse, or the other
    # way about: both turns have to agree.
    worse = costs[0][0] > max(costs[0][1:])
    right = min(c[0] for c in costs) if worse else max(c[0] for c in costs)
    wrong = [(max if worse else min)(c[i] for c in costs) for i in range(1, shifts + 1)]
    return right, wrong


def _tell_pairs_alone(output: Any, targets: Any, loss_fn: Callable[[Any, Any], Any], examples: int) -> bool:
    """Whether targets are the numbers of the examples, or pass unheard."""
    given = list(tensors_in(targets).values())
    if len(given) == 1 and torch.equal(given[0].flatten().cpu().double(), torch.arange(examples).double()):
        return True
    with torch.no_grad():
        rolled = mapped(lambda y: y.roll(1, 0) if y.dim() else y, targets)
        return bool(torch.equal(loss_fn(output, targets), loss_fn(output, rolled))) and any(
            not torch.equal(y, y.roll(1, 0)) or not bool(y.any()) for y in given if y.dim()
        )


def _has_parameters(output: Any, targets: Any, loss_fn: Callable[[Any, Any], Any]) -> bool:
    with torch.enable_grad():
        return sum(leaf.numel() for leaf in leaves(loss_fn(output, targets))) > _MOST
