"""The loss of a short trial jumps above where it began, and comes back.

One step threw the weights away and the following ones repaired it: the run goes on, but what it had learned is lost,
and the next jump may be the one that it does not come back from. The rule speaks where the median of five losses in a
row, after they had fallen, rises to twice the start and above that of every batch there, so that a single hard batch
is none, and the trial still ends below its start. A step of the user's own that drives a second optimizer, as two
networks against each other do, is not judged.

What to do: clip the gradient's norm; lower the learning rate; with Adam, a smaller beta_2 forgets large gradients
sooner; look at the batches right before the step that is named.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(1200, 8)
y = x[:, :1].clone()
y[240:244] = 100.0
data = list(zip(x.split(4), y.split(4)))
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(1200, 8)
y = x[:, :1].clone()
data = list(zip(x.split(4), y.split(4)))
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: the data change by design at that step.

Reference: Zhang et al. 2022 (OPT, section 2.5); Chowdhery et al. 2022 (PaLM, section 5.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Trained
from steadygrad.diagnosis.runs.outcome import spike
from steadygrad.finding import Finding, Level


def check(trained: Trained) -> Iterator[Finding]:
    """Look for a rise that lasts and goes away."""
    course = trained.course
    if trained.rivals or (step := spike(course)) is None:
        return
    highest = max(course.losses[step : step + 5])
    yield Finding(
        code="RUN001",
        name="loss-spike",
        level=Level.WARN,
        message=f"In a trial of {len(course.losses)} steps the loss, {course.began.value:.3g} at the start, jumps to "
        f"{highest:.3g} at step {step} after it had fallen.",
        measured=highest,
        expected=course.began.value,
        standard_error=course.began.error,
        count=len(course.losses),
        fix="Clip the gradient's norm or lower the learning rate, and look at the batches before that step.",
        step=step,
    )
