"""Whether the loss falls as predictions get better, and which way the optimizer goes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import tensors_in

from .answers import Answer, answers
from .clean_batches import clean_batches
from .collector import Collector, Unavailable
from .head_operator import HeadOperator, head_operator
from .measured import Measured
from .optimized import Optimized
from .twins import twins

# Right predictions are compared with those of so many other examples: all have to agree.
_SHIFTS = 4

# How far past the other of two labels predictions are moved, in the labels' half distance: near, beyond any margin of
# the labels' size, and far; and, where there is nothing out there, how far they are drawn in.
_NEAR, _FAR, _SHORT = 10.0, 100.0, -0.1

# How many deviations of the targets densities are asked aside: where an exponential of them is still a number.
_ASIDE, _FURTHER = 3.0, 10.0

# A loss that does not compare outputs with targets gives both the same, up to what adding up in another order does.
_ROUNDING = torch.finfo(torch.float32).eps ** 0.5

# What the loss gives for an answer that is changed so.
_Loss = Callable[[Callable[[torch.Tensor], torch.Tensor]], float]


@dataclass(frozen=True, kw_only=True)
class LossDirection:
    """The sign of learning.

    Attributes:
        maximize: groups of the optimizer that climb, and how many there are.
        groups: how many groups there are.
        right: loss of predictions made of the targets; None where none could be made.
        wrong: mean loss of predictions made of other examples' targets.
        rises: the loss is larger for every right prediction than for any wrong one; False where it is smaller; None
            where neither can be told, or where a loss of two labels is least at the other label of each, as that of a
            distance is.
    """

    maximize: int
    groups: int
    right: float | None
    wrong: float | None
    rises: bool | None

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "the direction of the loss"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Ask the loss about predictions made of the targets."""
        optimizer, setup = collector.get(Optimized).optimizer, collector.setup
        collector.get(Measured)  # what the user's own code raises is told there
        climbing = sum(bool(group.get("maximize", False)) for group in optimizer.param_groups)
        (batch,), loss_fn = clean_batches(collector, 1), setup.loss_fn
        if loss_fn is None:
            raise Unavailable("There is no loss, so its direction was not looked at.")
        modules = [setup.model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
        with untouched(*modules), torch.enable_grad():
            output = outputs_of(setup.model, batch.inputs)
            if isinstance(output, torch.Tensor) and output.is_complex():
                raise Unavailable("The outputs are complex numbers, so the loss's direction was not looked at.")
            head = head_operator(output) if isinstance(output, torch.Tensor) else HeadOperator()
        with untouched(*modules), torch.no_grad():
            right, wrong = _compared(output, batch.targets, loss_fn, (head.low, head.high))
        return cls(
            maximize=climbing,
            groups=len(optimizer.param_groups),
            right=right,
            wrong=sum(wrong) / len(wrong) if wrong else None,
            rises=_rises(right, wrong),
        )


def _compared(
    output: Any, targets: Any, loss_fn: Callable[[Any, Any], Any], within: tuple[float, float]
) -> tuple[float | None, list[float]]:
    examples = min((len(y) if y.dim() else 1 for y in tensors_in(targets).values()), default=0)
    if examples < 2:
        return None, []
    for answer in answers(output, targets):

        def loss(change: Callable[[torch.Tensor], torch.Tensor], answer: Answer = answer) -> float:
            return float(loss_fn(answer.with_(change), targets))

        try:
            right = loss(lambda said: said)
            shifts = range(1, min(_SHIFTS, examples - 1) + 1)
            wrong = [loss(functools.partial(torch.roll, shifts=shift, dims=0)) for shift in shifts]
        except Exception:
            continue  # a loss that takes other outputs than these
        if all(torch.isfinite(torch.tensor([right, *wrong]))):
            if _rises(right, wrong) is True and _is_meant(answer, right, loss, within):
                return None, []
            return right, wrong
    return _of_twins(output, targets, loss_fn, min(_SHIFTS, examples - 1))


def _of_twins(
    output: Any, targets: Any, loss_fn: Callable[[Any, Any], Any], shifts: int
) -> tuple[float | None, list[float]]:
    try:
        found = twins(output, targets, loss_fn, shifts)
    except Exception:  # a loss that takes other outputs than these
        return None, []
    if found is None or not all(map(math.isfinite, (found[0], *found[1]))):
        return None, []
    return found


def _is_meant(answer: Answer, right: float, loss: _Loss, within: tuple[float, float]) -> bool:
    """Whether a loss that costs more for right predictions may have the right sign all the same."""
    if answer.several and not _falls_on_and_on(answer.said, right, loss):
        return True
    return _is_least_at_the_other(answer.said, loss, within)


def _falls_on_and_on(said: torch.Tensor, right: float, loss: _Loss) -> bool:
    """Whether the loss falls whichever way all numbers that stand for a target are moved away from it, and on.

    A density whose parameters all say its target need not have its mode there: a gamma density of shape and rate y has
    the mean 1. But far from what was seen, either way, any density is low.
    """
    deviation = float(said.std())

    def at(times: float) -> float:
        return loss(lambda said: said + times * deviation)

    try:
        return all(right > at(side * _ASIDE) > at(side * _FURTHER) for side in (-1, 1))
    except Exception:
        return False


def _is_least_at_the_other(said: torch.Tensor, loss: _Loss, within: tuple[float, float]) -> bool:
    """Whether a loss of two labels is least where each is predicted as the other, or past that, and falls no further.

    A distance is small where two are said to be the same, a risk where all is well: which label an output stands for is
    then the loss's own choice. A loss with the wrong sign falls on and on.
    """
    labels = said.unique()
    if len(labels) != 2:
        return False
    middle = labels.double().mean().to(said.dtype)

    def at(times: float) -> float:
        def past(said: torch.Tensor) -> torch.Tensor:
            other = 2 * middle - said
            aside: torch.Tensor = other + times * (other - middle)
            return aside.clamp(*within)

        return loss(past)

    try:
        if tuple(labels.tolist()) != within:
            return at(_FAR) >= at(_NEAR)
    except Exception:  # probabilities are not taken outside of 0 and 1
        pass
    try:  # there is no further: what lies short of the ends tells as much
        return at(_SHORT) <= at(0.0)
    except Exception:
        return False


def _rises(right: float | None, wrong: list[float]) -> bool | None:
    if right is None or not wrong:
        return None
    margin = _ROUNDING * max(abs(right), *map(abs, wrong))
    if right > max(wrong) + margin:
        return True
    return False if right < min(wrong) - margin else None
