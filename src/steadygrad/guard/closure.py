"""One step of an optimizer that evaluates the loss several times itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from steadygrad.errors import not_allowed

from .clip.gradients import Gradients
from .clip.norms import norms
from .clip.policy import Policy
from .snapshot import OptimizerState
from .verdict import Outcome, Verdict, culprit


class _Refused(Exception):
    """An evaluation that is not finite; carries its outcome out of the optimizer."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def step_with_closure(
    optimizer: Any, parameters: list[nn.Parameter], closure: Callable[[], Tensor], clip: Policy | None, step: int
) -> Outcome:
    """Let the optimizer run its closure; where any evaluation or the result is not finite, undo everything.

    Parameters and state are copied first, because the optimizer moves them between evaluations.

    Args:
        optimizer: such as LBFGS.
        parameters: those that it trains.
        closure: clears the gradients, computes the loss, calls its backward, returns it.
        clip: applied to every evaluation's gradient.
        step: its number.
    """
    state = OptimizerState(optimizer)
    values = [p.detach().clone() for p in parameters]
    try:
        with torch.enable_grad():
            evaluate = _watched(closure, parameters, clip, step)
        outcome = _stepped(optimizer, evaluate, parameters)
    except BaseException as error:
        _restore_(parameters, values, state)
        if isinstance(error, _Refused):
            return error.outcome
        raise
    return outcome


def _stepped(optimizer: Any, evaluate: Any, parameters: list[nn.Parameter]) -> Outcome:
    optimizer.step(evaluate)
    last: Outcome = evaluate.outcome
    after = norms([p.detach() for p in parameters if p.grad is not None])
    if torch.isfinite(after).all():
        return last
    found, size, count = culprit(after).tolist()
    raise _Refused(
        Outcome(
            step=last.step, verdict=Verdict.NONFINITE, norm=last.norm, culprit=int(found),
            culprit_norm=size, nonfinite=int(count),
        )
    )  # fmt: skip


def _watched(closure: Callable[[], Tensor], parameters: list[nn.Parameter], clip: Policy | None, step: int) -> Any:
    def evaluate() -> Tensor:
        loss = closure()
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(not_allowed("closure", "must return the loss, a tensor with one number", loss))
        gradients = Gradients(parameters)
        if not len(gradients):
            raise ValueError("`closure` must call the loss's backward: no parameter has a gradient.")
        evaluate.outcome = outcome = _seen(gradients, loss, step)  # type: ignore[attr-defined]
        if outcome.verdict is not Verdict.ACCEPTED:
            raise _Refused(outcome)
        if clip is not None:
            clip.clip_(gradients)
        return loss

    return evaluate


def _seen(gradients: Gradients, loss: Tensor, step: int) -> Outcome:
    norm, value = gradients.total().item(), float(loss.detach())
    if math.isfinite(norm + value):
        return Outcome(step=step, verdict=Verdict.ACCEPTED, norm=norm, loss=value)
    found, size, count = culprit(gradients.norms()).tolist()
    return Outcome(
        step=step, verdict=Verdict.NONFINITE, norm=norm, loss=value, culprit=int(found), culprit_norm=size,
        nonfinite=int(count),
    )  # fmt: skip


def _restore_(parameters: list[nn.Parameter], values: list[Tensor], state: OptimizerState) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
    state.restore_()
