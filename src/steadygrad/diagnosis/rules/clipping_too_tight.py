"""Gradients are shortened so much before each step that the run stands still.

A clipping threshold is a net for rare wild batches. Far below the usual norm it cuts every step: the length of a step
is then the rate times the threshold, whatever the gradient says. The rule sees clipping that the setup itself does, in
the optimizer's step or in hooks on parameters, by the norm before and after. It speaks where the median step keeps less
than a tenth of its gradient and either a trial with a larger rate, which undoes the cut, takes five times as much off
the loss, or, without a trial, a step is less than 1e-5 of the weights.

What to do: raise the threshold to about the median norm, which the finding names.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), (x[:, :2].sum(1) > 0).long().split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))


class Clipped(torch.optim.SGD):
    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1e-5)
        return super().step(closure)


optimizer = Clipped(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), (x[:, :2].sum(1) > 0).long().split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))


class Clipped(torch.optim.SGD):
    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0)
        return super().step(closure)


optimizer = Clipped(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: the noise of differential privacy is scaled to the threshold.

Reference: Pascanu et al. 2013, section 3.2 (the threshold from the average norm); Zhang et al. 2020, section 3.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Rates, RateTrials
from steadygrad.diagnosis.runs.remedy import PART, mends
from steadygrad.finding import Finding, Level
from steadygrad.measurement.trial import Trial

# A step that keeps less is a tenth of what its rate asks for: one step of the grid on which rates are chosen.
_KEEPS = 0.1

_HARDLY_MOVES = 1e-5
_MORE = 5.0


def check(rates: Rates, trials: RateTrials) -> Iterator[Finding]:
    """Compare norms before and after the step's own clipping."""
    found = trials.retrials
    trial = rates.steps if found is None else found.trained.trial
    if not trial.clipped or statistics.median(trial.clipped) >= _KEEPS:
        return
    if found is None:
        still = 0 < max(trial.update_ratios) < _HARDLY_MOVES
    else:
        course = found.trained.course
        faster = (mends(r.course, course, steps=r.trial.steps, more=_MORE) for r in found.faster)
        still = course.gain() <= PART * course.scale and any(faster)
    if still:
        yield _finding(trial)


def _finding(trial: Trial) -> Finding:
    kept, norm = statistics.median(trial.clipped), statistics.median(trial.gradient_norms)
    return Finding(
        code="OPT007",
        name="clipping-too-tight",
        level=Level.WARN,
        message=f"The gradient's norm, {norm:.3g} in the median, is cut to {kept:.2g} of that before each step, and "
        "the run stands still.",
        measured=kept * norm,
        expected=norm,
        count=len(trial.clipped),
        fix=f"Raise the clipping threshold to about {norm:.2g}, the median norm.",
    )
