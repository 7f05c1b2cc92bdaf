"""What the user's own training step does with gradients, seen over a few calls that are put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Self

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.errors import SteadygradError
from steadygrad.measurement.budget import Budget
from steadygrad.measurement.gradient_life import is_empty
from steadygrad.measurement.gradient_watch import GradientLog, GradientWatch
from steadygrad.measurement.reached import Reached
from steadygrad.measurement.schedules import schedulers_of
from steadygrad.setup import Setup, bound_step, checked_batch, user_code

from .collector import Collector, Unavailable
from .machine_limit import machine_limit
from .scanned import Scanned

# The second step shows what stands from the first, and further ones whether a factor is a constant.
_STEPS = 4

# A loop that gathers gradients over eight batches makes as many steps in so many calls.
CALLS = 32

_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class OwnStep:
    """The record of the step's calls.

    Attributes:
        log: None where the setup has no step of its own, or none of its calls came to its end.
        moved: whether a parameter was another afterwards.
        idle: steps of the setup's optimizer, none of which found a gradient or moved what it holds; 0 where one did.
        turned: schedulers of the setup's optimizer that the step turns.
        turns: of those, a step of the optimizer.
    """

    log: GradientLog | None
    moved: bool = False
    idle: int = 0
    turned: tuple[LRScheduler, ...] = ()
    turns: float = 1.0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Call the step on the first batches; one that raises at once is left out of all that is tried later."""
        setup = collector.setup
        if setup.step is None:
            return cls(log=None)
        if collector.get(Scanned).clean is None:
            raise Unavailable("No batch is free of NaN and infinity, so the `step` was not looked at.")
        budget = collector.part("the calls of `step`", _SECONDS, passes=1.0)
        held = list(_parameters(setup))
        with trial_of(setup):
            before = [p.detach().clone() for p in held]
            schedulers = _schedulers(setup)
            stood = [scheduler.last_epoch for scheduler in schedulers]
            with GradientWatch.over(held) as watch, _gradients_found(setup) as found:
                failure = _called(setup, watch, budget)
            changed = {id(p) for p, was in zip(held, before, strict=True) if not torch.equal(was, p)}
            moves_its_own = any(id(p) in changed for p in _stepped(setup))
            turns = [scheduler.last_epoch - at for scheduler, at in zip(schedulers, stood, strict=True)]
        if failure and watch.call <= 0:
            collector.setup = replace(setup, step=None)
            collector.note(f"{failure}. A plain loop takes its place in what is tried.")
            return cls(log=None)
        if failure:
            collector.note(f"{failure}, in its call {watch.call + 1}; what it did before was looked at.")
        turned = {scheduler: count for scheduler, count in zip(schedulers, turns, strict=True) if count > 0}
        return cls(
            log=watch.log(),
            moved=bool(changed),
            idle=0 if any(found) or moves_its_own else len(found),
            turned=tuple(turned),
            turns=max(turned.values(), default=1) / max(len(found), 1),
        )


@contextmanager
def _gradients_found(setup: Setup) -> Iterator[list[bool]]:
    """Whether each step of the setup's optimizer finds a gradient that is not zero, as they are made in a block."""
    found: list[bool] = []
    if setup.optimizer is None:
        yield found
        return

    def look(_: Any, args: Any, kwargs: Any) -> None:
        given_a_closure = any(map(callable, (*args, *kwargs.values())))  # which makes the gradients
        found.append(given_a_closure or not all(is_empty(p.grad) for p in _stepped(setup)))

    hook = setup.optimizer.register_step_pre_hook(look)
    try:
        yield found
    finally:
        hook.remove()


def _schedulers(setup: Setup) -> tuple[LRScheduler, ...]:
    return () if setup.optimizer is None or setup.step is None else schedulers_of(setup.step, setup.optimizer)


def _stepped(setup: Setup) -> list[torch.Tensor]:
    return [p for group in setup.optimizer.param_groups for p in group["params"]] if setup.optimizer else []


def _called(setup: Setup, watch: GradientWatch, budget: Budget) -> str:
    """Why the calls ended before their time; "" where they did not."""
    step = bound_step(setup)
    assert step is not None
    setup.model.train()
    try:
        for batch in islice(cycle(_batches(setup)), CALLS):
            watch.begin()
            with user_code("`step`"), torch.enable_grad():
                step(batch)
            watch.end()
            if watch.steps >= _STEPS or budget.is_over:
                break
    except SteadygradError as error:
        limit = machine_limit(error)
        return f"`step` could not be run: {limit}" if limit else str(error).rstrip(".")
    return ""


def _batches(setup: Setup) -> Iterator[Any]:
    """The first batches that are finite, as the data give them."""
    assert setup.data is not None
    with user_code("`data`"):
        for index, batch in enumerate(islice(setup.data, CALLS)):
            checked = checked_batch(setup, batch, index)
            if all(bool(x.isfinite().all()) for x in checked.tensors.values()):
                yield batch


def _parameters(setup: Setup) -> Iterator[torch.Tensor]:
    """Those of the model, of the optimizer, and of what the step reaches beside them."""
    assert setup.step is not None
    reached = Reached.by(setup.step)
    modules: list[Any] = [setup.model, setup.loss_fn, *reached.modules]
    for module in modules:
        if isinstance(module, nn.Module):
            yield from module.parameters()
    for optimizer in (setup.optimizer, *reached.optimizers):
        for group in [] if optimizer is None else optimizer.param_groups:
            yield from group["params"]
