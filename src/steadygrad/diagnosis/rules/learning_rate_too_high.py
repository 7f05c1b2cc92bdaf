"""Steps are so long that they raise the loss whose gradient they follow.

Gradient descent on a quadratic of curvature λ multiplies the distance to the minimum by 1 - ηλ: above ηλ = 2 it grows
with every step; with momentum β above 2(1 + β). Networks are not quadratics: a rate beyond that limit first throws the
weights to where the loss is flatter, up to about six times the limit for ReLU networks, and healthy runs hover at the
limit by themselves. So the rule does not judge by sharpness alone. In the trial it asks what mends the run: it speaks
where the same trial at a tenth of the rate, a hundredth or a thousandth takes more than twice as much off the loss in
as many steps, from the start or from what a constant output reaches, and that is a tenth of it or more; where a larger
rate does so too, the rate is not what is wrong. Without the trial it tries three steps on one batch, and speaks where
each leaves the loss of that very batch above its start, the last at twice its size or more; that says it, too, where
the trial comes to nothing and so do all smaller rates in it, as on a plateau, or where the rate is further off than a
thousand times. The sharpness stands in the message where the optimizer is plain gradient descent; an adaptive one
divides by numbers that the first steps only begin to know, and its preconditioned sharpness at the start is far above
the limit in healthy runs too.

What to do: lower the rate to the one that the finding names; warm up; where the loss is a sum or data or targets are
not scaled, mend that first.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
y = (x[:, :2].sum(1) > 0).long()
data = list(zip(x.split(32), y.split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=100.0)
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
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: a schedule that is not part of the setup begins with a smaller rate.

Reference: Cohen et al. 2021, section 2 (the limit) and 2022 (adaptive optimizers); Lewkowycz et al. 2020, section 2
(rates above it); Kalra and Barkeshli 2024 (sharpness in the first steps).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Rates, RateTrials, Retrial, Retrials
from steadygrad.diagnosis.runs.outcome import Course, is_high
from steadygrad.diagnosis.runs.remedy import PART, mends
from steadygrad.finding import Finding, Level


def check(rates: Rates, trials: RateTrials) -> Iterator[Finding]:
    """Compare with smaller rates where there was a trial, else look at three steps."""
    if trials.retrials is None:
        if rates.raises_its_loss:
            yield _by_steps(rates)
        return
    if trials.retrials.both_ways:
        return
    course = trials.retrials.trained.course
    better = [r for r in trials.retrials.slower if _mends(r, course)]
    if better:
        yield _by_trial(rates, course, max(better, key=lambda r: r.course.gain()))
    elif rates.raises_its_loss and _tells_nothing(trials.retrials):
        yield _by_steps(rates)


def _tells_nothing(retrials: Retrials) -> bool:
    """Whether no rate got anywhere, or none was tried for want of time: three steps then say more than the trial."""
    course, slower = retrials.trained.course, retrials.slower
    if not slower:
        return retrials.unfinished
    lost = bool(course.nonfinite) or (is_high(course) and not course.is_better())
    return lost and not any(r.course.gain() > PART * r.course.scale for r in slower)


def _mends(slower: Retrial, course: Course) -> bool:
    """From the start, or from what a constant output reaches: a run may fall that far and stay there."""
    steps = slower.trial.steps
    return any(mends(slower.course, course, steps=steps, below=below) for below in (None, course.reference))


def _limit(rates: Rates) -> str:
    share = rates.against_limit
    if share is None:
        return ""
    return f" The rate is {share:.2g} times 2(1 + momentum)/sharpness, beyond which a quadratic diverges."


def _by_trial(rates: Rates, course: Course, better: Retrial) -> Finding:
    steps, found = better.trial.steps, better.course
    ended = f"ends at {course.ended.value:.3g}" if math.isfinite(course.ended.value) else "does not stay finite"
    return Finding(
        code="OPT001",
        name="learning-rate-too-high",
        level=Level.WARN if course.gain(steps, below=course.reference) > PART * course.scale else Level.ERROR,
        message=f"At the learning rate {rates.rate:g} the loss, {course.began.value:.3g} at the start, {ended}; at "
        f"{rates.rate * better.factor:g} it is {found.ended.value:.3g} after {steps} steps.{_limit(rates)}",
        measured=rates.rate,
        expected=rates.rate * better.factor,
        count=steps,
        fix=f"Lower the learning rate to about {rates.rate * better.factor:g}.",
        fix_code=f'for group in optimizer.param_groups:\n    group["lr"] *= {better.factor:g}',
    )


def _by_steps(rates: Rates) -> Finding:
    later = [*rates.steps.losses[1:], *rates.steps.after]
    path = ", ".join(f"{x:.3g}" for x in later) or "one that is not finite"
    return Finding(
        code="OPT001",
        name="learning-rate-too-high",
        level=Level.ERROR,
        message=f"Steps on one batch raise the loss of that very batch, from {rates.before:.3g} to {path}: the "
        f"learning rate {rates.rate:g} is too high.{_limit(rates)}",
        measured=later[-1] if later else math.inf,
        expected=rates.before,
        count=rates.steps.steps,
        fix="Lower the learning rate tenfold, and again until the loss of the batch falls.",
        fix_code='for group in optimizer.param_groups:\n    group["lr"] *= 0.1',
    )
