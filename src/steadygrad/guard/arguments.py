"""What a guard is given, checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steadygrad.errors import not_allowed, unknown_name

from .clip.policy import check_policy
from .ladder import Ladder

Nonfinite = Literal["skip", "rollback", "stop"]
OnSpike = Literal["ignore", "skip", "rollback", "stop"]
Decide = Literal["auto", "host", "device"]

_DEFAULT_SNAPSHOT_EVERY = 100


def check_parts(
    model: object, optimizer: object, clip: object, ladder: object, scaler: object = None, sink: object = None
) -> None:
    """Raise unless everything is what it should be.

    >>> check_parts(nn.Linear(1, 1), None, None, None)
    Traceback (most recent call last):
    TypeError: `optimizer` must be a torch.optim.Optimizer, got None.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(not_allowed("model", "must be a torch.nn.Module", model))
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise TypeError(not_allowed("optimizer", "must be a torch.optim.Optimizer", optimizer))
    if clip is not None:
        check_policy("clip", clip)
    if not isinstance(ladder, Ladder | None):
        raise TypeError(not_allowed("ladder", "must be a Ladder, or None", ladder))
    if scaler is not None and not callable(getattr(scaler, "is_enabled", None)):
        raise TypeError(not_allowed("scaler", "must be a torch.amp.GradScaler, or None", scaler))
    if sink is not None and not callable(sink):
        raise TypeError(not_allowed("sink", "must be called with a Finding, as print can be, or be None", sink))


def group_sizes(optimizer: torch.optim.Optimizer) -> list[int]:
    """Return how many parameters each group holds; it changes where parameters join.

    >>> group_sizes(torch.optim.SGD(nn.Linear(1, 1).parameters()))
    [2]
    """
    return [len(group["params"]) for group in optimizer.param_groups]


def release_(optimizer: torch.optim.Optimizer) -> None:
    """Set all gradients to None, as `zero_grad` does.

    >>> weight = nn.Parameter(torch.zeros(1)); weight.grad = torch.ones(1)
    >>> release_(torch.optim.SGD([weight])); weight.grad is None
    True
    """
    if type(optimizer).zero_grad is torch.optim.Optimizer.zero_grad:  # less its profiler
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
    else:
        optimizer.zero_grad(set_to_none=True)


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[list[nn.Parameter], dict[int, str]]:
    """Return the optimizer's parameters in the model's order, and their names by id.

    >>> model = nn.Linear(1, 1)
    >>> list(trained(model, torch.optim.SGD([model.bias]))[1].values())
    ['bias']
    """
    names = {id(p): name for name, p in model.named_parameters()}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    strange = [tuple(p.shape) for p in trained if id(p) not in names]
    if strange:
        raise ValueError(not_allowed("optimizer", "must hold parameters of the model only", strange))
    members = {id(p) for p in trained}
    return [p for p in model.parameters() if id(p) in members], {i: n for i, n in names.items() if i in members}


def check_loss(loss: Tensor) -> None:
    """Raise unless a loss is one number with a graph."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(not_allowed("loss", "must be a tensor with one number", getattr(loss, "shape", loss)))
    if not loss.requires_grad:
        raise ValueError(not_allowed("loss", "must have a graph to go backward through", loss))


def check_choices(on_nonfinite: str, on_spike: str, decide: str) -> None:
    """Raise unless every choice is known."""
    choices = {
        "on_nonfinite": (on_nonfinite, ("skip", "rollback", "stop")),
        "on_spike": (on_spike, ("ignore", "skip", "rollback", "stop")),
        "decide": (decide, ("auto", "host", "device")),
    }
    for subject, (choice, known) in choices.items():
        if choice not in known:
            raise ValueError(unknown_name(subject, choice, known))


def with_snapshots(ladder: Ladder, *actions: str) -> Ladder:
    """Return the ladder with snapshots where an action needs them.

    >>> with_snapshots(Ladder(), "rollback").snapshot_every
    100
    """
    wanted = "rollback" in actions and ladder.snapshot_every is None
    return replace(ladder, snapshot_every=_DEFAULT_SNAPSHOT_EVERY) if wanted else ladder


def usable_scheduler(scheduler: Any, optimizer: torch.optim.Optimizer) -> Any:
    """Return the scheduler, unless it needs a metric to step or schedules another optimizer."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError(not_allowed("scheduler", "must step without a metric; step it yourself", scheduler))
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError(not_allowed("scheduler", "must schedule the optimizer of the guard", scheduler))
    if scheduler is not None and not callable(getattr(scheduler, "step", None)):
        raise TypeError(not_allowed("scheduler", "must have a method `step`, or be None", scheduler))
    return scheduler


def check_state(saved: Any, own: Any) -> None:
    """Raise unless a saved state has the parts of one's own, down to every policy of a chain.

    >>> check_state({"step": 1}, {"step": 0}); check_state({}, {"step": 0})
    Traceback (most recent call last):
    ValueError: `state` must come from a guard with the same policies, got [].
    """
    if not _alike(saved, own):
        found = sorted(saved) if isinstance(saved, dict) else saved
        raise ValueError(not_allowed("state", "must come from a guard with the same policies", found))


def _alike(saved: Any, own: Any) -> bool:
    match saved, own:
        case dict(), dict():
            return saved.keys() == own.keys() and all(_alike(saved[key], own[key]) for key in own)
        case [dict(), *_], [dict(), *_]:
            return len(saved) == len(own) and all(map(_alike, saved, own))
    return not isinstance(own, dict) and (saved is None) == (own is None)
