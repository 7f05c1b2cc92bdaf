"""The loss of the best constant output: what a model reaches that makes nothing of its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from .scalar_loss import Loss, outputs_of

# A constant of d numbers fits the targets it was chosen on by d/2n better than those it was not (Akaike 1974, in nats
# an example): with ten examples a number that is a twentieth.
_EXAMPLES_A_NUMBER = 10

# A slope this small, or this part of the first, is a minimum to more digits than a batch's noise leaves.
_FLAT = 1e-3


def constant_guess(model: nn.Module, batches: Iterable[tuple[Any, Any]], loss_fn: Loss) -> tuple[float, ...]:
    """Return the losses of batches under the one output for all examples whose mean loss is least.

    Empty where the output is no tensor with an entry an example, where too few examples are there to choose it, where
    the loss takes no constant, or where it has no lower bound. The model runs as it is; put back what that changes.

    Args:
        model: gives the form of an output and where the search begins.
        batches: pairs (inputs, targets).
        loss_fn: takes (outputs, targets), returns a scalar.

    >>> batches = [(torch.ones(40, 2), torch.tensor([[1.0]] * 20 + [[-1.0]] * 20))]
    >>> [round(loss, 4) for loss in constant_guess(nn.Linear(2, 1), batches, nn.MSELoss())]
    [1.0]
    """
    batches = list(batches)
    with torch.no_grad():
        outputs = [outputs_of(model, inputs) for inputs, _ in batches]
    sizes = [len(targets) for _, targets in batches]
    if not outputs or not all(_an_entry_each(out, n) for out, n in zip(outputs, sizes, strict=True)):
        return ()
    guess = torch.cat([out.detach().double().mean(0, keepdim=True) for out in outputs]).mean(0).requires_grad_()
    if sum(sizes) < _EXAMPLES_A_NUMBER * guess.numel() or not bool(torch.isfinite(guess).all()):
        return ()
    return _least(guess, outputs, [targets for _, targets in batches], loss_fn)


def _an_entry_each(output: object, examples: int) -> bool:
    return isinstance(output, torch.Tensor) and output.is_floating_point() and output.shape[:1] == (examples,)


def _least(
    guess: torch.Tensor, outputs: Sequence[torch.Tensor], targets: Sequence[Any], loss_fn: Loss
) -> tuple[float, ...]:
    seen: list[tuple[float, ...]] = []
    slopes: list[float] = []
    search = torch.optim.LBFGS([guess], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        losses = [loss_fn(guess.to(o.dtype).expand_as(o), t) for o, t in zip(outputs, targets, strict=True)]
        loss = torch.stack([x.double() for x in losses]).mean()
        loss.backward()
        slopes.append(float(guess.grad.norm()) if guess.grad is not None else 0.0)
        seen.append(tuple(float(x.detach()) for x in losses))
        return loss

    try:
        with torch.enable_grad():
            search.step(closure)
        if not slopes[-1] <= max(_FLAT * slopes[0], _FLAT):
            return ()  # it still falls: the loss has no lower bound
    except Exception:  # a loss of probabilities does not take every constant: what was seen so far counts
        pass
    finite = [losses for losses in seen if all(map(math.isfinite, losses))]
    return min(finite, key=sum) if finite else ()
