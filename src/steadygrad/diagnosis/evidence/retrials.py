"""Trials that change one thing: weight decay, rate, or clipping. What mends a run is what it suffered from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.runs.outcome import Course, diverges, is_high, oscillates, spike
from steadygrad.diagnosis.runs.remedy import mends
from steadygrad.diagnosis.runs.trend import SURE
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.budget import Budget
from steadygrad.measurement.foreach_norm import foreach_norm
from steadygrad.measurement.schedules import rates_times
from steadygrad.measurement.trial import Trial

from .collector import Collector, EvidenceT, OutOfTime, Unavailable
from .gradient_tail import GradientTail
from .probe import Probe
from .rates import Rates
from .trained import LEARNS, LEAST, Trained, course_of, direction, run

# Half of the trial: enough to see a loss fall.
STEPS = 100
_SECONDS = 5.0

_SLOWER = (0.1, 0.01, 0.001)
# Steps as parts of the weights: the usual one, and tenfold and hundredfold of it, beyond which nothing learns.
_USUAL = (1e-3, 1e-2, 1e-1)

# Weight decay that takes off a tenth of the weights in the steps of a retrial, or is a tenth of the gradient, tells.
_TELLS = 0.1


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
    """The trial and those made because it went badly; all empty where it did not, or where its cause is known.

    Attributes:
        trained: the trial itself.
        slower: with smaller rates, down to the first that learns; where none does and the trial came to nothing, the
            best of them with all of its steps if its loss still falls. None where all steps were shorter than usual and
            the loss never rose, which no shorter step would mend.
        faster: with larger rates, up to the first that learns.
        clipped: with gradients shortened to their median norm.
        undecayed: without weight decay, where the run lost little and there was enough of it to tell; where that mends
            the run the others are not made.
        unfinished: larger rates were left untried, or cut short, for want of time.
    """

    trained: Trained
    slower: tuple[Retrial, ...]
    faster: tuple[Retrial, ...]
    clipped: Retrial | None
    undecayed: Retrial | None = None
    unfinished: bool = False

    @property
    def both_ways(self) -> bool:
        """Whether a smaller rate and a larger one both mend the run: then it is neither too high nor too low."""
        course = self.trained.course
        return all(
            any(mends(r.course, course, steps=r.trial.steps) for r in found) for found in (self.slower, self.faster)
        )

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Try what the record of the trial gives reason to."""
        trained, probe = collector.get(Trained), collector.get(Probe)
        course = trained.course
        low = course.gain() < LEARNS * course.scale
        wild = diverges(course) or oscillates(course) or spike(course) is not None
        if not (low or wild) or collector.explained or trained.rivals:
            return cls(trained=trained, slower=(), faster=(), clipped=None)
        rates, tail = _available(collector, Rates), _available(collector, GradientTail)
        turns = _Turns(collector, probe, trained.trial.steps if _is_undone(course) else STEPS)
        undecayed = turns.take(1.0, decayed=False) if low and _decay_tells(collector, trained.trial) else None
        if undecayed and mends(undecayed.course, course, steps=undecayed.trial.steps):
            return cls(trained=trained, slower=(), faster=(), clipped=None, undecayed=undecayed)
        factors = _faster(trained.trial) if low and rates and not rates.warms_up else []
        calm = bool(factors) and not wild and max(trained.trial.update_ratios) < _USUAL[0]
        slower = _ladder(turns, _SLOWER if rates and not calm else ())
        if is_high(course):
            slower = _with_more_steps(turns, slower, trained.trial.steps)
        faster = _ladder(turns, factors)
        late = turns.are_over
        clipped = None if tail is None else turns.take(1.0, clip=tail.median)
        return cls(trained=trained, slower=slower, faster=faster, clipped=clipped, unfinished=late)


def _decay_tells(collector: Collector, trial: Trial) -> bool:
    """Whether the weights, or the steps, would be other ones without weight decay."""
    optimizer = collector.setup.optimizer
    assert optimizer is not None
    gradient = statistics.median(trial.gradient_norms) if trial.gradient_norms else math.nan
    for group in optimizer.param_groups:
        decay, rate = float(group.get("weight_decay") or 0.0), float(group.get("lr") or 0.0)
        if decay <= 0:
            continue
        # Where it is a part of the gradient, an optimizer that scales its steps makes them of decay alone.
        pull = 0.0 if group.get("decoupled_weight_decay") else decay * float(foreach_norm(group["params"]))
        if rate * decay * STEPS >= _TELLS or pull >= _TELLS * gradient:
            return True
    return False


def _is_undone(course: Course) -> bool:
    """Whether half of what went in as many steps as are tried came back later: what mends that must last as long."""
    return len(course.losses) > STEPS and course.gain() < course.gain(STEPS) / 2


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


class _Turns:
    """Retrials, as long as there is time for the next."""

    def __init__(self, collector: Collector, probe: Probe, steps: int) -> None:
        self._collector, self._probe, self._steps = collector, probe, steps
        self._budget = Budget(min(collector.share(_SECONDS), collector.budget.left))
        self._least = (LEAST + probe.cost) * collector.pace.whole

    @property
    def are_over(self) -> bool:
        """Whether there is no time for another."""
        return self._budget.is_over or self._least > self._collector.budget.left

    def take(
        self, factor: float, clip: float | None = None, *, decayed: bool = True, steps: int | None = None
    ) -> Retrial | None:
        """Train with another rate, shortened gradients or no weight decay; None where there is no time for it."""
        if self.are_over:
            what = (
                "steps without weight decay" if not decayed else "other rates" if clip is None else "shorter gradients"
            )
            with suppress(OutOfTime):
                self._collector.leave_out(what)
            return None
        setup = self._collector.setup
        assert setup.optimizer is not None
        by_steps = setup.step is not None
        with trial_of(setup), rates_times(setup.optimizer, factor, each_step=by_steps):
            for group in setup.optimizer.param_groups:
                if not decayed and "weight_decay" in group:
                    group["weight_decay"] = 0.0
            trial = run(setup, self._probe, steps=steps or self._steps, seconds=self._budget.left, clip=clip)
        return Retrial(factor=factor, trial=trial, sign=direction(setup))


def _ladder(turns: _Turns, factors: Iterable[float]) -> tuple[Retrial, ...]:
    """Retrials by factor, up to the first that learns."""
    found: list[Retrial] = []
    for factor in factors:
        retrial = turns.take(factor)
        if retrial is None:
            break
        found.append(retrial)
        if _learns(retrial):
            break
    return tuple(found)


def _with_more_steps(turns: _Turns, found: tuple[Retrial, ...], steps: int) -> tuple[Retrial, ...]:
    """Retrials, the best one made again with as many steps as the trial where it was shorter and still falls."""
    best = max(found, key=lambda r: r.course.gain(), default=None)
    if best is None or best.trial.steps >= steps or _learns(best) or best.course.later_trend() > -SURE:
        return found
    longer = turns.take(best.factor, steps=steps)
    return found if longer is None else tuple(longer if r is best else r for r in found)


def _learns(retrial: Retrial) -> bool:
    return retrial.course.gain() >= LEARNS * retrial.course.scale


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
