"""The loss of the best constant output: what a model reaches that makes nothing of its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from steadygrad.setup.parts import mapped, tensors_in

from .calls import first_tensor
from .scalar_loss import Loss, outputs_of

# A constant of d numbers fits the targets it was chosen on by d/2n better than those it was not (Akaike 1974, in nats
# an example): with ten examples a number that is a twentieth.
_EXAMPLES_A_NUMBER = 10

# A slope this small, or this part of the first, is a minimum to more digits than a batch's noise leaves.
_FLAT = 1e-3

# Adding up in another order changes a loss by less.
_ROUNDING = torch.finfo(torch.float32).eps ** 0.5


def constant_guess(model: nn.Module, batches: Iterable[tuple[Any, Any]], loss_fn: Loss) -> tuple[float, ...]:
    """Return the losses of batches under the one output for all examples whose mean loss is least.

    Of several outputs each has a constant of its own. Empty where an output has no entry an example, where too few
    examples are there to choose it, where the loss takes no constant, or where it has no lower bound. The loss must
    hold each of several outputs against the targets: terms that hold them against each other alone, as two views of an
    image or a code and its nearest entry of a book, are least where all is one and the same, and a model that learns
    does not get there. The model runs as it is; put back what that changes.

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
        outputs = [mapped(torch.Tensor.detach, outputs_of(model, inputs)) for inputs, _ in batches]
    targets = [y for _, y in batches]
    sizes = [len(y if (first := first_tensor(y)) is None else first) for y in targets]
    places = [list(tensors_in(out).values()) for out in outputs]
    if not all(parts and all(_an_entry_each(x, n) for x in parts) for parts, n in zip(places, sizes, strict=True)):
        return ()
    guesses = [
        torch.cat([x.double().mean(0, keepdim=True) for x in parts]).mean(0) for parts in zip(*places, strict=True)
    ]
    numbers = sum(guess.numel() for guess in guesses)
    if not numbers or sum(sizes) < _EXAMPLES_A_NUMBER * numbers or not all(bool(g.isfinite().all()) for g in guesses):
        return ()
    if len(guesses) > 1 and not _heed(loss_fn, outputs[0], targets[0]):
        return ()
    return _least([guess.requires_grad_() for guess in guesses], outputs, targets, loss_fn)


def _an_entry_each(output: torch.Tensor, examples: int) -> bool:
    return output.is_floating_point() and output.shape[:1] == (examples,)


def _heed(loss_fn: Loss, output: Any, targets: Any) -> bool:
    """Whether the gradient of each output is another one with the targets of other examples."""
    try:
        pairs = [_gradients(loss_fn, output, y) for y in (targets, mapped(_rolled, targets))]
    except Exception:  # a loss without a gradient for one of them, or that takes no other targets
        return False
    sizes = [float(right.norm() + wrong.norm()) for right, wrong in zip(*pairs, strict=True)]
    changes = [float((right - wrong).norm()) for right, wrong in zip(*pairs, strict=True)]
    # An output without any gradient has no part in the loss.
    return any(sizes) and all(
        change > _ROUNDING * size or not size for change, size in zip(changes, sizes, strict=True)
    )


def _rolled(targets: torch.Tensor) -> torch.Tensor:
    return targets.roll(1, 0) if targets.dim() else targets


def _gradients(loss_fn: Loss, output: Any, targets: Any) -> tuple[torch.Tensor, ...]:
    with torch.enable_grad():
        leaves = mapped(lambda x: x.clone().requires_grad_(), output)
        return torch.autograd.grad(loss_fn(leaves, targets), list(tensors_in(leaves).values()))


def _least(
    guesses: list[torch.Tensor], outputs: Sequence[Any], targets: Sequence[Any], loss_fn: Loss
) -> tuple[float, ...]:
    seen: list[tuple[float, ...]] = []
    slopes: list[float] = []
    search = torch.optim.LBFGS(guesses, max_iter=30, line_search_fn="strong_wolfe")

    def constant(output: Any) -> Any:
        each = iter(guesses)
        return mapped(lambda x: next(each).to(x.dtype).expand_as(x), output)

    def closure() -> torch.Tensor:
        search.zero_grad()
        losses = [loss_fn(constant(o), t) for o, t in zip(outputs, targets, strict=True)]
        loss = torch.stack([x.double() for x in losses]).mean()
        loss.backward()
        slopes.append(math.hypot(*(float(g.grad.norm()) for g in guesses if g.grad is not None)))
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
