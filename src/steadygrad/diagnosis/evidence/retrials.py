"""Trials that change one thing: the learning rate, or the clipping. What mends a run is what it suffered from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.runs.outcome import Course, diverges, oscillates, spike
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.budget import Budget
from steadygrad.measurement.trial import Trial
from steadygrad.setup import Setup

from .collector import Collector, EvidenceT, Unavailable
from .gradient_tail import GradientTail
from .probe import Probe
from .rates import Rates
from .trained import Trained, course_of, direction, run

# Half of the trial: enough to see a loss fall.
STEPS = 100
_SECONDS = 5.0

_SLOWER = (0.1, 0.01, 0.001)
# Steps as parts of the weights: the usual one, and tenfold and hundredfold of it, beyond which nothing learns.
_USUAL = (1e-3, 1e-2, 1e-1)

# A run that lost half of its loss in the steps of the trial learns, whatever another rate would do.
_LEARNS = 0.5


@dataclass(frozen=True, kw_only=True)
class Retrial:
    """A trial with one thing changed.

    Attributes:
        factor: what the learning rate was multiplied by.
        trial: its record.
        sign: -1 where the optimizer climbs the loss, else 1.
    """

    factor: float
    trial: Trial
    sign: int = 1

    @property
    def course(self) -> Course:
        """The record as the detectors take it."""
        return course_of(self.trial, sign=self.sign)


@dataclass(frozen=True, kw_only=True)
class Retrials:
    """The trial and those made because it went badly; all empty where it did not.

    Attributes:
        trained: the trial itself.
        slower: with smaller rates, down to the first that learns.
        faster: with larger rates, up to the first that learns.
        clipped: with gradients shortened to their median norm.
        unfinished: larger rates were left untried, or cut short, for want of time.
    """

    trained: Trained
    slower: tuple[Retrial, ...]
    faster: tuple[Retrial, ...]
    clipped: Retrial | None
    unfinished: bool = False

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Try what the record of the trial gives reason to."""
        trained, probe, setup = collector.get(Trained), collector.get(Probe), collector.setup
        budget = Budget(_SECONDS)
        course = trained.course
        low = course.gain() < _LEARNS * course.scale
        troubled = low or diverges(course) or oscillates(course) or spike(course) is not None
        has_rate = _available(collector, Rates) is not None
        tail = _available(collector, GradientTail) if troubled else None
        slower = _ladder(setup, probe, _SLOWER if troubled and has_rate else (), budget)
        faster = _ladder(setup, probe, _faster(trained.trial) if low and has_rate else (), budget)
        late = budget.is_over
        clipped = None if tail is None else _retried(setup, probe, 1.0, budget, clip=tail.median)
        return cls(trained=trained, slower=slower, faster=faster, clipped=clipped, unfinished=late)


def _faster(trial: Trial) -> list[float]:
    """Powers of ten, of ten or more, that take the trial's steps to usual sizes."""
    moved = statistics.median(trial.update_ratios) if trial.update_ratios and not trial.nonfinite else 0.0
    factors = [10.0 ** round(math.log10(size / moved)) for size in _USUAL] if 0 < moved < math.inf else []
    return [factor for factor in factors if factor >= 10]


def _available(collector: Collector, kind: type[EvidenceT]) -> EvidenceT | None:
    try:
        return collector.get(kind)
    except Unavailable:
        return None


def _ladder(setup: Setup, probe: Probe, factors: Iterable[float], budget: Budget) -> tuple[Retrial, ...]:
    """Retrials by factor, up to the first that learns."""
    found: list[Retrial] = []
    for factor in factors:
        if budget.is_over:
            break
        found.append(_retried(setup, probe, factor, budget))
        course = found[-1].course
        if course.gain() >= _LEARNS * course.scale:
            break
    return tuple(found)


def _retried(setup: Setup, probe: Probe, factor: float, budget: Budget, clip: float | None = None) -> Retrial:
    assert setup.optimizer is not None
    seconds = max(budget.left, 0.1)
    with trial_of(setup):
        for group in setup.optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        trial = run(setup, probe, steps=STEPS, seconds=seconds, clip=clip)
    return Retrial(factor=factor, trial=trial, sign=direction(setup))


@dataclass(frozen=True, kw_only=True)
class RateTrials:
    """The retrials for rules that can do without them.

    Attributes:
        retrials: None where no trial was made.
    """

    retrials: Retrials | None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Take what there is."""
        return cls(retrials=_available(collector, Retrials))
