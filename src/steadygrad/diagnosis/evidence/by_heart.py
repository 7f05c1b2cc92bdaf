"""Whether what a trial learned is anything but its own batches: a second one, on every other batch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from steadygrad.diagnosis.runs.outcome import WORTH, Course
from steadygrad.diagnosis.runs.remedy import PART
from steadygrad.diagnosis.runs.trend import SURE
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.constant_guess import constant_guess
from steadygrad.measurement.trial import probed, train
from steadygrad.setup import bound_step

from .collector import Collector, OutOfTime, Unavailable
from .probe import Probe
from .trained import LEAST, SECONDS, STEPS, Trained, direction

# Fewer batches than these, seen or unseen, have no spread to speak of.
_FEWEST = 4

# How often the losses of the batches that are held out are looked at.
_LOOKS = 5

Losses = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ByHeart:
    """Losses of batches that a second trial was made on, and of those between them that it never saw.

    All are empty where the trial saw no batch twice, had learned before it did, or where no second one could be made.

    Attributes:
        seen: of the batches trained on, at the end.
        seen_constant: of those under the best constant output.
        unseen: of the others, at each look.
        unseen_constant: of those under the best constant output.
        steps: of the second trial.
    """

    seen: Losses = ()
    seen_constant: Losses = ()
    unseen: tuple[Losses, ...] = ()
    unseen_constant: Losses = ()
    steps: int = 0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Train on every other batch, where the first pass of the trial had not learned yet."""
        try:
            trained, probe = collector.get(Trained), collector.get(Probe)
            course, batches = trained.course, probe.batches
            if collector.explained or trained.rivals or len(batches) < 2 * _FEWEST:
                return cls()
            if course.nonfinite or not course.constant or course.period is None or _learned_at_once(course):
                return cls()
            passes = LEAST + probe.cost * _LOOKS / 2
            budget = collector.part("a trial on every other batch", SECONDS, passes=passes)
        except (Unavailable, OutOfTime):
            return cls()
        return cls._of_every_other(collector, probe, budget.seconds)

    @classmethod
    def _of_every_other(cls, collector: Collector, probe: Probe, seconds: float) -> Self:
        setup, sign = collector.setup, direction(collector.setup)
        assert setup.loss_fn is not None
        assert setup.optimizer is not None
        pairs = [(batch.inputs, batch.targets) for batch in probe.batches]
        seen, unseen, loss_fn = pairs[::2], pairs[1::2], setup.loss_fn

        def signed(outputs: Any, targets: Any) -> Tensor:
            return sign * loss_fn(outputs, targets)

        looks: list[Losses] = []
        with trial_of(setup):
            constants = [constant_guess(setup.model, part, signed) for part in (seen, unseen)]
            for _ in range(_LOOKS):
                trial = train(
                    setup.model,
                    seen,
                    loss_fn,
                    setup.optimizer,
                    steps=STEPS // _LOOKS,
                    seconds=seconds / _LOOKS,
                    probe=seen,
                    step=bound_step(setup),
                )
                if trial.ended or trial.nonfinite:
                    return cls()
                looks.append(tuple(sign * loss for loss in probed(setup.model, unseen, loss_fn)))
        return cls(
            seen=tuple(sign * loss for loss in trial.after),
            seen_constant=constants[0],
            unseen=tuple(looks),
            unseen_constant=constants[1],
            steps=STEPS,
        )

    @property
    def is_all(self) -> bool:
        """Whether nothing was learned but the batches themselves.

        Those seen stand surely below a constant output at the end, those unseen on no look, and surely not by a tenth.
        The constant is the best for these very batches: whatever outputs have to do with the targets takes the loss
        below it, and nothing else does.
        """
        if not (self.seen and self.seen_constant and self.unseen_constant and all(self.unseen)):
            return False
        gain, error = _gain(self.seen, self.seen_constant)
        learned = gain > max(SURE * error, WORTH * abs(statistics.fmean(self.seen_constant)))
        return learned and all(_is_no_gain(look, self.unseen_constant) for look in self.unseen)


def _is_no_gain(losses: Losses, constant: Losses) -> bool:
    gain, error = _gain(losses, constant)
    return gain <= 0 and gain + SURE * error < PART * abs(statistics.fmean(constant))


def _gain(losses: Losses, constant: Losses) -> tuple[float, float]:
    """How far batches stand below a constant output in the mean, each below its own, and the standard error."""
    pairs = [was - now for now, was in zip(losses, constant, strict=True)]
    return statistics.fmean(pairs), _error(pairs)


def _learned_at_once(course: Course) -> bool:
    """Whether the second half of the first pass, whose batches were all new, lies surely below a constant output."""
    assert course.period is not None
    new = course.losses[course.period // 2 : course.period]
    constant = statistics.fmean(course.constant)
    return bool(new) and statistics.fmean(new) + SURE * _error(new) < constant


def _error(losses: Sequence[float]) -> float:
    return statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else math.inf
