"""A short trial of training on a snapshot that is put back, and what it left of the units."""

from __future__ import annotations

import math
import statistics
import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from steadygrad.diagnosis.runs.outcome import Course, diverges, is_high
from steadygrad.diagnosis.trainable_depth import is_lost, log_ratio
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement import Observation, observe
from steadygrad.measurement.constant_guess import constant_guess
from steadygrad.measurement.loss_slope import slope_of_weights
from steadygrad.measurement.reached import Reached
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.trial import Trial, train
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Batch, Setup, bound_step, mapped

from .collector import Collector, Unavailable
from .probe import UNTOLD, Probe

# A budget of steps first, so that the same setup gives the same findings; the time is a bound for what is slow.
STEPS = 200
SECONDS = 5.0

# The slope of a loss along its true gradient comes out to a few hundredths.
_OFF = 0.25

# A run that lost half of its loss learns, whatever else may be said of it.
LEARNS = 0.5

# Fewer tell no course: the last fifth, which is looked at, would hold less than four.
LEAST = 20


@dataclass(frozen=True, kw_only=True)
class UnitDeaths:
    """Dead units of one call of an activation before and after the trial, on the same examples.

    Attributes:
        path: the module's path.
        units: how many it has.
        before: share that was zero with zero derivative on every example at the start.
        after: the same at the end.
    """

    path: str
    units: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the trial showed.

    Attributes:
        trial: its record.
        constant: losses of the probe under the best constant output; empty where that is not known.
        deaths: a record for each activation.
        examples: examples that the deaths were counted on.
        sign: -1 where the optimizer climbs the loss, else 1.
        told_apart: ln of what differs between examples at the head's output, after over before; NaN where not known.
        constant_after: losses of the probe under the best constant output, by the weights at the end, which a penalty
            takes for its own; empty where outputs still tell examples apart.
        rivals: the user's own step drives another optimizer than the setup's: what that does to the loss is not this
            setup's doing, as with two networks against each other, whose losses stand still where neither wins.
        said: what the model says of the first batch of the probe, before and after; None where that is not known, as of
            a trial that ended in a number that is not finite.
    """

    trial: Trial
    constant: tuple[float, ...]
    deaths: tuple[UnitDeaths, ...]
    examples: int
    sign: int = 1
    told_apart: float = math.nan
    constant_after: tuple[float, ...] = ()
    rivals: bool = False
    said: tuple[Any, Any] | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Train with the user's own optimizer and put everything back."""
        probe = collector.get(Probe)
        if collector.no_trial:
            raise Unavailable(f"No trial of training was made{collector.no_trial}.")
        setup, passes = collector.setup, LEAST + probe.cost + 2 * len(probe.first_few)
        budget = collector.part("the trial of training", SECONDS, passes=passes)
        with trial_of(setup):
            began, before = _observed(setup, probe.joined), said(setup, probe)
            constant = _constant(setup, probe)
            trial = run(setup, probe, steps=STEPS, seconds=budget.seconds)
            ended = None if trial.nonfinite else _observed(setup, probe.joined)
            after = None if trial.nonfinite else said(setup, probe)
            told_apart = log_ratio(_signal(ended), _signal(began))
            constant_after = _constant(setup, probe) if is_lost(told_apart) else ()
            off = _off_its_gradient(setup, probe, course_of(trial, constant, sign=direction(setup)))
        if not trial.losses:
            raise Unavailable(f"The trial of training could not begin: {trial.ended}.")
        if off > _OFF:
            raise Unavailable(
                f"After {trial.steps} steps the speed at which the loss falls against its gradient is off by {off:.2g} "
                f"of what the gradient says, as where what a model cuts from the graph has a part in it: {UNTOLD}"
            )
        if trial.ended:
            collector.note(f"The trial of training ended after {trial.steps} of {STEPS} steps: {trial.ended}.")
        alive, dead = _dead(began), _dead(ended)
        deaths = tuple(
            UnitDeaths(path=path, units=units, before=share, after=dead[path][1])
            for path, (units, share) in alive.items()
            if path in dead
        )
        return cls(
            trial=trial,
            constant=constant,
            deaths=deaths,
            examples=probe.joined.size,
            sign=direction(setup),
            told_apart=told_apart,
            constant_after=constant_after,
            rivals=_has_rivals(setup),
            said=None if before is None or after is None else (before, after),
        )

    @property
    def left(self) -> float:
        """The loss at the end over that of a constant output, where the run is surely below it; NaN elsewhere."""
        course = self.course
        below = course.reference > 0 and course.is_better() and not course.nonfinite
        return max(course.ended.value, 0.0) / course.reference if below else math.nan

    @property
    def is_constant(self) -> bool:
        """Whether outputs have come to be the same for all examples, and do as a constant does at the same weights."""
        course = self.course
        if not is_lost(self.told_apart):
            return False
        after = replace(course, start=self.constant_after, constant=())
        return (is_high(course) and not course.is_better()) or (bool(after.start) and not after.is_better())

    @property
    def course(self) -> Course:
        """The record as the detectors take it."""
        return course_of(self.trial, self.constant, sign=self.sign)


def course_of(trial: Trial, constant: tuple[float, ...] = (), *, sign: int = 1) -> Course:
    """Return a trial's record as the detectors take it."""
    return Course(
        losses=tuple(sign * x for x in trial.losses),
        start=tuple(sign * x for x in trial.before),
        end=tuple(sign * x for x in trial.after),
        nonfinite=trial.nonfinite,
        constant=constant,
        period=trial.batches_per_pass,
    )


def _has_rivals(setup: Setup) -> bool:
    """Whether the step reaches an optimizer that is not the setup's."""
    reached = [] if setup.step is None else Reached.by(setup.step).optimizers
    return any(optimizer is not setup.optimizer for optimizer in reached)


def direction(setup: Setup) -> int:
    """Return what a loss is multiplied by so that a step should lower it: -1 where the optimizer climbs.

    Whether climbing is meant another rule asks; a run that climbs well is no run that diverges.
    """
    assert setup.optimizer is not None
    return -1 if all(group.get("maximize", False) for group in setup.optimizer.param_groups) else 1


def run(setup: Setup, probe: Probe, *, steps: int, seconds: float, clip: float | None = None) -> Trial:
    """Train inside of a block of `trial_of`."""
    assert setup.data is not None
    assert setup.loss_fn is not None
    assert setup.optimizer is not None
    return train(
        setup.model,
        setup.data,
        setup.loss_fn,
        setup.optimizer,
        steps=steps,
        seconds=seconds,
        probe=probe.pairs,
        clip=clip,
        step=bound_step(setup),
    )


def _constant(setup: Setup, probe: Probe) -> tuple[float, ...]:
    assert setup.loss_fn is not None
    try:
        sign, loss_fn = direction(setup), setup.loss_fn
        return constant_guess(setup.model, probe.pairs, lambda outputs, targets: sign * loss_fn(outputs, targets))
    except Exception:  # an output without examples along its first dimension, or a model that raises, has no constant
        return ()


def _observed(setup: Setup, batch: Batch) -> Observation | None:
    try:
        return observe(setup.model, batch.inputs, batch.targets, setup.loss_fn)
    except Exception:  # what the trial itself meets it says
        return None


def _off_its_gradient(setup: Setup, probe: Probe, course: Course) -> float:
    """By how much of its gradient a batch's loss does not follow it where the trial ended, if that is high; else NaN.

    A loss that rises there is no run that diverges: its steps go down something else, as those of a straight-through
    estimate or of a code and its nearest entry do.
    """
    if course.nonfinite or not course.losses or not (course.gain() < LEARNS * course.scale or diverges(course)):
        return math.nan
    assert setup.loss_fn is not None
    try:
        with untouched(setup.model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slopes = [slope_of_weights(setup.model, b.inputs, b.targets, setup.loss_fn) for b in probe.first_few]
    except Exception:  # what the trial itself meets it says
        return math.nan
    return statistics.median(abs(slope - 1) for slope in slopes) if all(map(math.isfinite, slopes)) else math.nan


def said(setup: Setup, probe: Probe) -> Any:
    """Return what the model says of the first batch of the probe; None where it raises."""
    try:
        with untouched(setup.model), torch.no_grad():
            return mapped(torch.Tensor.clone, outputs_of(setup.model, probe.pairs[0][0]))
    except Exception:  # what the trial itself meets it says
        return None


def _dead(seen: Observation | None) -> dict[str, tuple[int, float]]:
    """Units and dead share by path; where a module is called more than once, its last call."""
    rows: Any = () if seen is None else zip(seen.profile.layers, seen.calls, strict=True)
    return {layer.path: (call.units, layer.dead_fraction) for layer, call in rows if call.units}


def _signal(seen: Observation | None) -> float:
    """What differs between examples at the output of the last layer with a weight."""
    layers = [] if seen is None else [layer for layer in seen.profile.layers if layer.fan_in is not None]
    return layers[-1].signal if layers else math.nan
