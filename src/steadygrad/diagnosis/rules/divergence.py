"""The loss of a short trial grows, or stops being a number.

The rule trains on a snapshot with the setup's own optimizer and puts everything back. It speaks where the loss, a
gradient or a weight stops being finite, or where the loss stands at more than twice its start, above that of every
batch there, and still rises: by the rank test of Mann and Kendall over the second half, beyond three standard errors.
Of a step of the user's own that drives a second optimizer only numbers that are not finite are judged: the loss of one
of two networks against each other rises as the other learns.

What to do: this is what happens, not why. Look at what is named above it; where nothing is, lower the learning rate,
clip, and look at the batch of the step that is named.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), x[:, :1].split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), x[:, :1].split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: the loss is one of two that play against each other in one optimizer.

Reference: Mann 1945 (the test); Cohen et al. 2021, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Trained
from steadygrad.diagnosis.runs.outcome import diverges
from steadygrad.finding import Finding, Level

_WHAT = {"loss": "the loss is", "gradient": "the gradient is", "weights": "the weights are"}


def check(trained: Trained) -> Iterator[Finding]:
    """Look at how the trial ended."""
    course, steps = trained.course, trained.trial.steps
    if not diverges(course) or (trained.rivals and not course.nonfinite):
        return
    first = course.began.value
    ended = math.inf if course.nonfinite else course.ended.value
    yield Finding(
        code="RUN002",
        name="divergence",
        level=Level.ERROR,
        message=f"In a trial of training {_WHAT[course.nonfinite]} not finite at step {steps - 1}."
        if course.nonfinite
        else f"In a trial of {steps} steps the loss goes from {first:.3g} to {ended:.3g} and still rises.",
        measured=ended,
        expected=first,
        count=steps,
        fix="Lower the learning rate, clip the gradient's norm, and look at the batch of that step.",
        step=steps - 1,
    )
