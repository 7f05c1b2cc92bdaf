"""Learning rates over time: the schedulers that a step turns, and where they take the rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from .budget import Budget
from .reached import Reached


def largest_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the largest learning rate of an optimizer's groups; NaN where none has one.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> largest_rate(torch.optim.SGD([weight], lr=0.1))
    0.1
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups if group.get("lr") is not None]
    return max(rates, default=math.nan)


def schedulers_of(step: Callable[..., Any], optimizer: torch.optim.Optimizer) -> tuple[LRScheduler, ...]:
    """Return the schedulers of an optimizer that a step holds on to, without those that others are made of.

    One that waits for a metric has no course that could be known before, and is none of them.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> schedulers_of(lambda batch: halving.step(), optimizer) == (halving,)
    True
    """
    held = [x for x in Reached.by(step).holders if isinstance(x, LRScheduler) and not isinstance(x, ReduceLROnPlateau)]
    within = {id(part) for x in held for part in getattr(x, "_schedulers", [])}
    return tuple(x for x in held if getattr(x, "optimizer", None) is optimizer and id(x) not in within)


def rates_ahead(
    schedulers: Iterable[LRScheduler], optimizer: torch.optim.Optimizer, *, turns: int, seconds: float
) -> Iterator[float]:
    """Yield the largest rate as it is and after each turn of the schedulers, which changes them: put them back.

    Args:
        schedulers: all turned at once.
        optimizer: theirs.
        turns: at most so many; fewer where a schedule has an end, or where time is over.
        seconds: that they may take.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.8)
    >>> halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    >>> list(rates_ahead([halving], optimizer, turns=3, seconds=1.0))
    [0.8, 0.4, 0.2, 0.1]
    """
    schedulers, budget = list(schedulers), Budget(seconds)
    yield largest_rate(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step of the optimizer comes between
        for _ in range(turns):
            try:
                for scheduler in schedulers:
                    scheduler.step()
            except Exception:  # whatever the user's function raises beyond its end
                return
            yield largest_rate(optimizer)
            if budget.is_over:
                return


@contextmanager
def rates_times(optimizer: torch.optim.Optimizer, factor: float, *, each_step: bool) -> Iterator[None]:
    """A block in which an optimizer's learning rates are multiplied by a factor.

    Args:
        optimizer: whose settings the caller puts back.
        factor: > 0.
        each_step: while it steps alone, so that what sets the rate between steps, as a scheduler, has its say.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> with rates_times(optimizer, 10.0, each_step=False):
    ...     largest_rate(optimizer)
    1.0
    """
    if not each_step:
        _multiply(optimizer, factor)
        yield
        return
    with _rates_while_stepping(optimizer, lambda: _multiply(optimizer, factor)):
        yield


@contextmanager
def rates_held(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """A block in which an optimizer steps at the rates that it has at its start, whatever sets them between steps.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.5)
    >>> with rates_held(optimizer):
    ...     optimizer.param_groups[0]["lr"], weight.grad = 9.0, torch.ones(1)
    ...     optimizer.step()
    >>> weight.item()
    -0.5
    """
    at_start = [group.get("lr") for group in optimizer.param_groups]
    with _rates_while_stepping(optimizer, lambda: _put(optimizer, at_start)):
        yield


@contextmanager
def _rates_while_stepping(optimizer: torch.optim.Optimizer, change: Callable[[], None]) -> Iterator[None]:
    """A block in which rates are changed before each step and put back after it."""
    kept: list[list[Any]] = []

    def before(*_: Any) -> None:
        kept.append([group.get("lr") for group in optimizer.param_groups])
        change()

    def after(*_: Any) -> None:
        _put(optimizer, kept.pop())

    hooks = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _put(optimizer: torch.optim.Optimizer, rates: Iterable[Any]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if rate is not None:
            group["lr"] = rate


def _multiply(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        if group.get("lr") is not None:
            group["lr"] = group["lr"] * factor
