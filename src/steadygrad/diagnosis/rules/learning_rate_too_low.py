"""Steps are so short that no reasonable number of them gets anywhere.

Along the direction of curvature λ gradient descent takes about 1/ηλ steps to learn, with momentum β (1 - β)/ηλ; the
sharpest direction is the fastest, and most lie orders of magnitude below it. In the trial the rule asks what mends the
run: it speaks where less than a tenth of the loss went, and the same trial, at a rate that gives steps of 1e-3 of the
weights as is usual, or of 1e-2 or a tenth, takes at least five times as much off it, and that is a tenth of the loss or
more. A slow run that learns is left in peace, and one that a smaller rate mends as well. Without the trial it speaks
where a step is less than 1e-5 of the weights, a hundredth of the 1e-3 that is usual, and, for plain gradient descent,
the sharpest direction too needs over a thousand steps; that says it, too, where the trial had no time left to try
larger rates, or where in its few steps none of them got anywhere, as on a plateau. It also speaks where three steps
move more than half of what is trained by less than 2^-24 of its size, where single precision rounds a step away, while
the rest moves and their gradients have not vanished: a group of its own at a rate far too small; where that rate is a
thousandth of another group's or less, which no decay of rates over layers comes to, less than 1e-5 of its size a step
is enough. A rate that is still raised is not judged, unless the schedule that the setup's own step turns would take
100,000 steps or more to its whole rate. Where such a schedule takes the rate below a tenth in the steps of a trial, the
trial is made again with the rate held, and the rule speaks where that takes off at least five times as much.

What to do: raise the rate by the factor that the finding names; look whether a schedule holds it down.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
y = (x[:, :2].sum(1) > 0).long()
data = list(zip(x.split(32), y.split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
y = (x[:, :2].sum(1) > 0).long()
data = list(zip(x.split(32), y.split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: a network that was trained before is adapted with small steps on purpose.

Reference: Goh 2017 (momentum, section 2); Ghorbani et al. 2019 (the spread of eigenvalues); Karpathy 2016, CS231n
(the ratio of step to weights).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steadygrad.diagnosis.evidence import Rates, RateTrials, Retrial, Schedule, ScheduledRates
from steadygrad.diagnosis.evidence.rates import HARDLY_MOVES, ROUNDING
from steadygrad.diagnosis.paths import listed
from steadygrad.diagnosis.runs.level import level
from steadygrad.diagnosis.runs.outcome import Course
from steadygrad.diagnosis.runs.remedy import PART, mends
from steadygrad.finding import Finding, Level

# At least as much more a larger rate must take off the loss: a run that is slower by less is a matter of patience.
_MORE = 5.0

# Steps of the longest warm-ups in use (Liu et al. 2019, RoBERTa, table 9).
_LONGEST = 3e4

# Steps beyond which the sharpest direction is slow: the bulk of eigenvalues lies 10 to 1000 times below it.
_SLOW = 1000.0

# Where more than half of what is trainable does not move, the network that is trained is another one.
_HALF = 0.5
# A loss below this part of a constant output's was learned before: small steps may then be meant.
_LEARNED = 0.8


def check(scheduled: ScheduledRates, trials: RateTrials) -> Iterator[Finding]:
    """Compare with larger rates where there was a trial, else look at the size of three steps."""
    rates = scheduled.rates
    if rates is None:
        yield _endless(scheduled.schedule)
        return
    held = trials.retrials.held if trials.retrials else None
    if trials.retrials and held and _takes_off(held, trials.retrials.trained.course):
        yield _taken_away(scheduled.schedule, trials.retrials.trained.course, held)
        return
    if rates.warms_up:
        return
    if rates.still_share > _HALF:
        yield _rounded_away(rates)
        return
    if trials.retrials is None:
        if _hardly_moves(rates):
            yield _by_steps(rates)
        return
    if trials.retrials.both_ways:
        return
    trained = trials.retrials.trained
    if trained.constant and trained.course.began.value < _LEARNED * level(trained.constant).value:
        return
    if trained.course.gain() > PART * trained.course.scale:
        return  # slow, but it learns
    better = [r for r in trials.retrials.faster if _takes_off(r, trained.course)]
    if better:
        yield _by_trial(rates, trained.course, max(better, key=lambda r: r.course.gain()))
    elif _hardly_moves(rates) and (trials.retrials.unfinished or not _gets_anywhere(trials.retrials.faster)):
        yield _by_steps(rates)


def _takes_off(retrial: Retrial, course: Course) -> bool:
    return mends(retrial.course, course, steps=retrial.trial.steps, more=_MORE)


def _gets_anywhere(faster: Sequence[Retrial]) -> bool:
    """Whether a larger rate took off what a run that learns does: where none did, the trial tells nothing."""
    return any(r.course.gain() > PART * r.course.scale for r in faster)


def _hardly_moves(rates: Rates) -> bool:
    moved = rates.steps.update_ratios
    if not moved or rates.steps.nonfinite or not 0 < max(moved) < HARDLY_MOVES:
        return False
    if not rates.plain:
        return True
    steps = _steps_needed(rates)
    return steps is not None and steps > _SLOW


def _steps_needed(rates: Rates) -> float | None:
    """Steps that the sharpest direction takes; None where the sharpness is not known."""
    if not rates.plain or rates.sharpness is None or not rates.sharpness.largest > 0:
        return None
    return (1 - rates.momentum) / (rates.rate * rates.sharpness.largest)


def _by_trial(rates: Rates, course: Course, better: Retrial) -> Finding:
    steps, found = better.trial.steps, better.course
    return Finding(
        code="OPT002",
        name="learning-rate-too-low",
        level=Level.WARN,
        message=f"At the learning rate {rates.rate:g} the loss goes from {course.began.value:.4g} to "
        f"{course.ended.value:.4g} in {len(course.losses)} steps; at {rates.rate * better.factor:g} it reaches "
        f"{found.ended.value:.4g} in {steps}.{_slowness(rates)}",
        measured=rates.rate,
        expected=rates.rate * better.factor,
        count=steps,
        fix=f"Raise the learning rate to about {rates.rate * better.factor:g}.",
        fix_code=f'for group in optimizer.param_groups:\n    group["lr"] *= {better.factor:g}',
    )


def _endless(schedule: Schedule) -> Finding:
    steps = schedule.steps_until_whole
    return Finding(
        code="OPT002",
        name="learning-rate-too-low",
        level=Level.WARN,
        message=f"The schedule that `step` turns takes {steps:.2g} steps to raise the learning rate from "
        f"{schedule.rates[0]:.3g} to {schedule.whole:g}: the longest warm-ups in use take 3e4.",
        measured=steps,
        expected=_LONGEST,
        count=len(schedule.rates),
        fix="Make the warm-up a small part of the steps of the run.",
    )


def _taken_away(schedule: Schedule, course: Course, held: Retrial) -> Finding:
    steps = next(i for i, rate in enumerate(schedule.rates) if rate < max(schedule.rates) / 10) / schedule.per_step
    return Finding(
        code="OPT002",
        name="learning-rate-too-low",
        level=Level.WARN,
        message=f"The schedule that `step` turns takes the learning rate from {max(schedule.rates):g} to less than a "
        f"tenth in {steps:.3g} steps, and to {schedule.rates[-1]:.2g} in {len(course.losses)}: the loss goes from "
        f"{course.began.value:.4g} to {course.ended.value:.4g}. With the rate held it reaches "
        f"{held.course.ended.value:.4g} in {held.trial.steps}.",
        measured=steps,
        expected=float(len(course.losses)),
        count=held.trial.steps,
        fix="Turn the schedule once an epoch if it counts epochs, or let it fall over all steps of the run.",
    )


def _slowness(rates: Rates) -> str:
    steps = _steps_needed(rates)
    return "" if steps is None else f" Even the sharpest direction takes {steps:.2g} steps."


def _rounded_away(rates: Rates) -> Finding:
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in rates.still))
    return Finding(
        code="OPT002",
        name="learning-rate-too-low",
        level=Level.WARN,
        message=f"{rates.steps.steps} steps move the weights of {listed(modules)} by {_how_little(rates)} That holds "
        f"{100 * rates.still_share:.3g}% of what is trained.",
        module=modules[0],
        measured=rates.still_share,
        expected=_HALF,
        count=rates.steps.steps,
        fix="Raise the learning rate of their group, or keep the weights in a format of more digits.",
    )


def _how_little(rates: Rates) -> str:
    if rates.still_by <= ROUNDING:
        return (
            "less than rounding to single precision does, though they get gradients: what is below a weight's last "
            "place is rounded away."
        )
    return (
        f"{rates.still_by:.2g} of their size, where 1e-3 a step is usual, though they get gradients: the learning rate "
        "of their group is far below that of another."
    )


def _by_steps(rates: Rates) -> Finding:
    moved = max(rates.steps.update_ratios)
    return Finding(
        code="OPT002",
        name="learning-rate-too-low",
        level=Level.WARN,
        message=f"At the learning rate {rates.rate:g} a step moves the weights by {moved:.2g} of their size, where "
        f"1e-3 is usual.{_slowness(rates)}",
        measured=moved,
        expected=1e-3,
        count=rates.steps.steps,
        fix="Raise the learning rate.",
    )
