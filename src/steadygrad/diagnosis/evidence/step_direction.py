"""Whether the optimizer's first step goes down the loss: tried, where its class does not say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.trial import probed, train
from steadygrad.setup import Setup

from .collector import Collector, Unavailable
from .probe import Probe

# A step is shortened to these parts of the weights: on both the loss has to go the same way.
_PARTS = (1e-2, 1e-3)

# The step itself, and a loss at either end of both parts and in the middle.
_PASSES = 3.0

# Of a loss in single precision: what its rounding may be.
_ROUNDING = 1e-5


@dataclass(frozen=True, kw_only=True)
class StepDirection:
    """The slope of a batch's loss along the step that is made on it, without weight decay.

    Attributes:
        climbs: whether the loss rises along the step and falls against it; None where that was not tried, as of torch's
            own optimizers, which go down unless they are told otherwise, or is not clear.
        ahead: the loss a little along the step.
        behind: the loss as far against it.
    """

    climbs: bool | None = None
    ahead: float = math.nan
    behind: float = math.nan

    passes: ClassVar[float] = 0.0
    what: ClassVar[str] = "the direction of a step"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Make one step on one batch, go a little of its way and of the way back, and put everything back."""
        setup = collector.setup
        if setup.optimizer is None or setup.step is not None or _goes_down(setup):
            return cls()
        try:
            probe = collector.get(Probe)
            collector.part(cls.what, 1.0, passes=_PASSES)
        except Unavailable:
            return cls()
        with trial_of(setup):
            before, after = _stepped(setup, probe.pairs[:1])
            found = [] if after is None else [_ends(setup, probe.pairs[:1], before, after, part) for part in _PARTS]
        ways = {_way(*losses) for losses in found}
        if len(ways) != 1 or None in ways:
            return cls()
        ahead, _, behind = found[0]
        return cls(climbs=ways.pop(), ahead=ahead, behind=behind)


def _goes_down(setup: Setup) -> bool:
    """Whether the step is torch's own, at a rate that is not below zero, on gradients that nothing has a hand in."""
    optimizer = setup.optimizer
    assert optimizer is not None
    own = type(optimizer).__module__.startswith("torch.optim")
    hooked = any(p._backward_hooks for p in _parameters(setup))
    edited = bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
    backwards = any(float(group.get("lr") or 0.0) < 0 for group in optimizer.param_groups)
    # One that has stepped before goes where its momentum points.
    return bool(optimizer.state) or (own and not (hooked or edited or backwards))


def _parameters(setup: Setup) -> list[torch.Tensor]:
    assert setup.optimizer is not None
    return [p for group in setup.optimizer.param_groups for p in group["params"] if p.requires_grad]


def _stepped(setup: Setup, pair: Any) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    """Weights before and after a step; None where they did not move, or are no numbers."""
    optimizer, parameters = setup.optimizer, _parameters(setup)
    assert optimizer is not None
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    before = [p.detach().clone() for p in parameters]
    trial = train(setup.model, pair, setup.loss_fn, optimizer, steps=1)  # type: ignore[arg-type]
    after = [p.detach().clone() for p in parameters]
    moved = any(not torch.equal(x, y) for x, y in zip(before, after, strict=True))
    return before, after if moved and trial.steps == 1 and not trial.nonfinite else None


def _ends(
    setup: Setup, pair: Any, before: Sequence[torch.Tensor], after: Sequence[torch.Tensor], part: float
) -> tuple[float, float, float]:
    """Loss ahead, at the start and behind, each a part of the weights' size away."""
    size = math.sqrt(sum(float(x.double().square().sum()) for x in before))
    moved = math.sqrt(sum(float((y.double() - x.double()).square().sum()) for x, y in zip(before, after, strict=True)))
    found: list[float] = []
    for way in (part, 0.0, -part):
        with torch.no_grad():
            for p, x, y in zip(_parameters(setup), before, after, strict=True):
                p.copy_(x + (y - x) * (way * (size or 1.0) / moved))
        found += probed(setup.model, pair, setup.loss_fn)  # type: ignore[arg-type]
    ahead, here, behind = found if len(found) == 3 else (math.nan,) * 3
    return ahead, here, behind


def _way(ahead: float, here: float, behind: float) -> bool | None:
    """Whether the loss rises; None where it does not go one way, or by no more than rounding.

    >>> _way(1.1, 1.0, 0.9), _way(0.9, 1.0, 1.1), _way(1.1, 1.0, 1.1)
    (True, False, None)
    """
    least = _ROUNDING * abs(here)
    if ahead > here + least and here > behind + least:
        return True
    return False if ahead < here - least and here < behind - least else None
