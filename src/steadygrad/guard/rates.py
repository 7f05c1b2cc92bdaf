"""The learning rate of an optimizer and of whatever schedules it, made smaller for good."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# The learning rates that schedulers of torch.optim keep in a parameter group.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


def scale_rates_(optimizer: torch.optim.Optimizer, scheduler: Any, factor: float) -> None:
    """Multiply every learning rate by a factor, those from which a scheduler computes the next ones included.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([weight], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    >>> scale_rates_(optimizer, scheduler, 0.5); optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """
    for group in optimizer.param_groups:
        for name in _RATES:
            if name in group:
                group[name] = _times(group[name], factor)
    for each in _all(scheduler):
        if hasattr(each, "base_lrs"):
            each.base_lrs = [_times(rate, factor) for rate in each.base_lrs]


def _times(rate: Any, factor: float) -> Any:
    return rate.mul_(factor) if isinstance(rate, Tensor) else rate * factor


def _all(scheduler: Any) -> list[Any]:
    """A scheduler and those that it is made of."""
    return (
        []
        if scheduler is None
        else [scheduler, *(s for part in getattr(scheduler, "_schedulers", []) for s in _all(part))]
    )
