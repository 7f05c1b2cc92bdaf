"""Whether the loss falls as predictions get better, and which way the optimizer goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .clean_batches import clean_batches
from .collector import Collector, Unavailable
from .head_operator import HeadOperator, head_operator
from .measured import Measured
from .optimized import Optimized

# Right predictions are compared with those of so many other examples: all have to agree.
_SHIFTS = 4

# How far past the other of two labels predictions are moved, in the labels' half distance: near, beyond any margin of
# the labels' size, and far; and, where there is nothing out there, how far they are drawn in.
_NEAR, _FAR, _SHORT = 10.0, 100.0, -0.1


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
    if not isinstance(output, torch.Tensor) or not isinstance(targets, torch.Tensor) or len(targets) < 2:
        return None, []
    for predictions in _predictions(output, targets):
        try:
            right = float(loss_fn(predictions, targets))
            shifts = range(1, min(_SHIFTS, len(targets) - 1) + 1)
            wrong = [float(loss_fn(predictions.roll(shift, 0), targets)) for shift in shifts]
        except Exception:
            continue  # a loss that takes other outputs than these
        if all(torch.isfinite(torch.tensor([right, *wrong]))):
            mirrors = _rises(right, wrong) is True and _is_least_at_the_other(predictions, targets, loss_fn, within)
            return (None, []) if mirrors else (right, wrong)
    return None, []


def _is_least_at_the_other(
    predictions: torch.Tensor, targets: Any, loss_fn: Callable[[Any, Any], Any], within: tuple[float, float]
) -> bool:
    """Whether a loss of two labels is least where each is predicted as the other, or past that, and falls no further.

    A distance is small where two are said to be the same, a risk where all is well: which label an output stands for is
    then the loss's own choice. A loss with the wrong sign falls on and on.
    """
    labels = predictions.unique()
    if len(labels) != 2:
        return False
    middle = labels.double().mean().to(predictions.dtype)
    other = 2 * middle - predictions

    def loss(times: float) -> float:
        return float(loss_fn((other + times * (other - middle)).clamp(*within), targets))

    try:
        if tuple(labels.tolist()) != within:
            return loss(_FAR) >= loss(_NEAR)
    except Exception:  # probabilities are not taken outside of 0 and 1
        pass
    try:  # there is no further: what lies short of the ends tells as much
        return loss(_SHORT) <= loss(0.0)
    except Exception:
        return False


def _predictions(output: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
    """Outputs that say what the targets say, as log-probabilities, as probabilities, or as numbers."""
    classes = _one_hot(output, targets)
    if classes is not None:
        axis, hot = classes
        yield F.log_softmax(4 * hot, axis)
        yield F.softmax(4 * hot, axis)
    if targets.numel() == output.numel():
        same = targets.reshape(output.shape).to(output.dtype)
        yield same
        yield 0.1 + 0.8 * same


def _one_hot(output: torch.Tensor, targets: torch.Tensor) -> tuple[int, torch.Tensor] | None:
    if targets.is_floating_point() or output.dim() < 2:
        return None
    for axis in (1, -1):
        rest = list(output.shape)
        kinds = rest.pop(axis)
        if kinds > 1 and list(targets.shape) == rest and int(targets.max()) < kinds:
            hot = F.one_hot(targets.clamp(min=0).long(), kinds).to(output.dtype)
            return axis, hot.movedim(-1, axis)
    return None


def _rises(right: float | None, wrong: list[float]) -> bool | None:
    if right is None or not wrong:
        return None
    margin = 1e-6 * max(abs(right), *map(abs, wrong))
    if right > max(wrong) + margin:
        return True
    return False if right < min(wrong) - margin else None
