"""The loss of a short trial jumps about above where it began.

Steps longer than the valley is wide go from one wall to the other. The noise of mini-batches is healthy; what counts
is that from one step to the next the loss changes by more than half of its size at the start, and by more than five
times the spread that the batches have among themselves there, in half of the later steps, while it stands above its
start. A step of the user's own that drives a second optimizer, as two networks against each other do, is not judged.

What to do: lower the learning rate; look at what is named above.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
y = (x[:, :2].sum(1) > 0).long()
data = list(zip(x.split(32), y.split(32)))
model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=300.0, momentum=0.9)
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
model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: batches are of very different kinds by design, as one task each.

Reference: LeCun et al. 1998 (Efficient BackProp), section 5.1; Cohen et al. 2021, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from steadygrad.diagnosis.evidence import Trained
from steadygrad.diagnosis.runs.outcome import oscillates
from steadygrad.finding import Finding, Level


def check(trained: Trained) -> Iterator[Finding]:
    """Look at the later steps of the trial."""
    course = trained.course
    if trained.rivals or not oscillates(course):
        return
    half = np.asarray(course.losses[len(course.losses) // 2 :])
    jump = float(np.median(np.abs(np.diff(half))))
    yield Finding(
        code="RUN003",
        name="oscillating-loss",
        level=Level.WARN,
        message=f"In a trial of {len(course.losses)} steps the loss, {course.began.value:.3g} at the start, jumps "
        f"about {float(np.median(half)):.3g} by {jump:.3g} from one step to the next.",
        measured=jump,
        expected=course.began.spread,
        count=len(half) - 1,
        fix="Lower the learning rate.",
    )
