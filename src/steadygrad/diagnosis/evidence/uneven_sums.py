"""A loss of two terms of which one is summed over the batch and the other averaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from steadygrad.diagnosis.runs.level import level
from steadygrad.diagnosis.runs.remedy import PART
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.constant_guess import constant_guess
from steadygrad.measurement.trial import probed, train
from steadygrad.setup import Setup, mapped, tensors_in

from .collector import Collector, Unavailable
from .loss_run import LossRun
from .probe import Probe
from .rescaled import LEAST

# As many as the trials that change one thing make: half of a trial.
_STEPS = 100
_SECONDS = 2.0

# In double precision the parts of a loss come out to more digits than this.
_ROUNDING = 1e-6

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class UnevenSums:
    """The two parts of such a loss, and what becomes of the averaged one.

    With every example given twice the averaged part stays, the summed one doubles: of three losses, of the batch once,
    twice and three times, two give the parts and the third says whether these are all.

    Attributes:
        averaged: the part that does not grow with the batch; NaN where the loss is no such sum.
        summed: the part that grows in proportion to it.
        batch_size: examples in a batch.
        entries: numbers of an example's target.
        constant: the averaged part under the best constant output, after `as_it_is` and `evened` steps; NaN where it
            was not tried.
        as_it_is: the averaged part after training on the loss as it is.
        evened: the same after training on a loss whose summed part is divided by all that it sums.
    """

    averaged: float = math.nan
    summed: float = math.nan
    batch_size: int = 0
    entries: int = 1
    constant: float = math.nan
    as_it_is: float = math.nan
    evened: float = math.nan

    passes: ClassVar[float] = 0.0
    what: ClassVar[str] = "the parts of the loss"

    @property
    def is_uneven(self) -> bool:
        """Whether there are both parts.

        >>> UnevenSums(averaged=1.0, summed=2.0).is_uneven, UnevenSums().is_uneven
        (True, False)
        """
        size = abs(self.averaged) + abs(self.summed)
        return min(abs(self.averaged), abs(self.summed)) > _ROUNDING * size

    @property
    def hurts(self) -> bool:
        """Whether the averaged part stays at a constant's as it is, and gets a tenth of that below it once evened."""
        least = PART * abs(self.constant)
        return self.constant - self.as_it_is < least / 2 and self.constant - self.evened > least

    @classmethod
    def collect(cls, collector: Collector) -> UnevenSums:
        """Part the loss on the first batch, then train on it as it is and evened."""
        try:
            run = collector.get(LossRun)
        except Unavailable:
            return cls()
        setup, y = collector.setup, run.targets
        if y is None or setup.loss_fn is None or run.batch_size < 2:
            return cls()
        parts = _parts(setup.loss_fn, run.outputs, y)
        if parts is None or not cls(averaged=parts[0], summed=parts[1]).is_uneven:
            return cls()
        found = cls(
            averaged=parts[0],
            summed=parts[1],
            batch_size=run.batch_size,
            entries=max(
                (p.numel() // run.batch_size for p in tensors_in(y).values() if p.is_floating_point()), default=1
            ),
        )
        return _tried(collector, found)


def _times(x: Any, copies: int) -> Any:
    return mapped(lambda t: torch.cat([t] * copies) if t.dim() else t, x)


def _parts(loss_fn: Loss, outputs: Any, y: Any) -> tuple[float, float] | None:
    """Averaged and summed part; None where there is something else, or the loss takes no copies."""
    outputs, y = (mapped(lambda t: t.double() if t.is_floating_point() else t, x) for x in (outputs, y))
    try:
        with torch.no_grad():
            once, twice, thrice = (float(loss_fn(_times(outputs, n), _times(y, n))) for n in (1, 2, 3))
    except Exception:
        return None
    averaged, summed = 2 * once - twice, twice - once
    if not math.isfinite(thrice) or abs(averaged + 3 * summed - thrice) > _ROUNDING * (abs(averaged) + abs(summed)):
        return None
    return averaged, summed


def _tried(collector: Collector, found: UnevenSums) -> UnevenSums:
    """With both trainings, where the setup can be trained and there is time."""
    try:
        pairs = collector.get(Probe).pairs
        budget = collector.part("steps with the parts of the loss evened", 2 * _SECONDS, passes=2 * LEAST)
    except Unavailable:
        return found
    setup = collector.setup
    if setup.step is not None:
        return found  # what a step of the user's own descends is not this loss alone
    averaged, evened = _averaged(setup.loss_fn), _evened(setup.loss_fn, found.entries)
    with trial_of(setup):
        constant = constant_guess(setup.model, pairs, averaged)
    if not constant:
        return found
    as_it_is, mended = (_end(setup, loss, averaged, pairs, budget.seconds / 2) for loss in (setup.loss_fn, evened))
    return replace(found, constant=level(constant).value, as_it_is=as_it_is, evened=mended)


def _averaged(loss_fn: Any) -> Loss:
    """The part that stays where every example is given twice."""
    return lambda outputs, y: 2 * loss_fn(outputs, y) - loss_fn(_times(outputs, 2), _times(y, 2))


def _evened(loss_fn: Any, entries: int) -> Loss:
    """The loss with its summed part over all that it sums."""

    def evened(outputs: Any, y: Any) -> Tensor:
        once, twice = loss_fn(outputs, y), loss_fn(_times(outputs, 2), _times(y, 2))
        loss: Tensor = 2 * once - twice + (twice - once) / (len(next(iter(tensors_in(y).values()))) * entries)
        return loss

    return evened


def _end(setup: Setup, loss: Any, averaged: Loss, pairs: Any, seconds: float) -> float:
    """The averaged part after training on a loss, put back."""
    data, optimizer = setup.data, setup.optimizer
    assert data is not None
    assert optimizer is not None
    with trial_of(setup):
        trial = train(setup.model, data, loss, optimizer, steps=_STEPS, seconds=seconds, least=LEAST)
        return math.inf if trial.nonfinite else level(probed(setup.model, pairs, averaged)).value
