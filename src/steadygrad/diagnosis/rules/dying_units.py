"""Units that worked at the start are dead after a short trial.

A step that is too long carries a ReLU unit's weights to where its input is negative for every example; there it has no
gradient and stays. The rule counts units that give zero, with zero derivative, on all examples of up to eight batches,
before and after a trial on a snapshot. It speaks where more than half of a layer's units died on the way, beyond five
standard errors, and calls it an error where the whole layer did: nothing passes it any more.

What to do: lower the learning rate; clip; use a leaky activation. `steadygrad.revive_` draws dead units anew.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), (10 * x[:, :1].abs()).split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
data = list(zip(x.split(32), (10 * x[:, :1].abs()).split(32)))
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.005)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: most inputs are rare events and the batches hold few of them.

Reference: Lu et al. 2019 (dying ReLU); Dohare et al. 2024 (loss of plasticity).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Trained, UnitDeaths
from steadygrad.finding import Finding, Level

# Above it, more of a layer is lost than is left.
_HALF = 0.5


def check(trained: Trained) -> Iterator[Finding]:
    """One finding, at the layer with the largest share of deaths."""
    died = [d for d in trained.deaths if d.after - d.before > _most(d.units)]
    if died:
        yield _finding(max(died, key=lambda d: d.after - d.before), layers=len(died), trained=trained)


def _most(units: int) -> float:
    """The share beyond chance where each unit dies with probability a half; a whole layer always counts."""
    return min(_HALF + 5 * math.sqrt(_HALF * (1 - _HALF) / units), 1 - 0.5 / units)


def _finding(worst: UnitDeaths, *, layers: int, trained: Trained) -> Finding:
    others = f", and in {layers - 1} more layers most did" if layers > 1 else ""
    died = worst.after - worst.before
    return Finding(
        code="RUN005",
        name="dying-units",
        level=Level.ERROR if worst.after == 1 else Level.WARN,
        message=f"In a trial of {trained.trial.steps} steps {round(died * worst.units)} of {worst.units} units of "
        f"{worst.path!r} died: they are zero, with zero derivative, on all {trained.examples} examples{others}.",
        module=worst.path,
        measured=worst.after,
        expected=worst.before,
        standard_error=math.sqrt(worst.after * (1 - worst.after) / worst.units),
        count=worst.units,
        fix="Lower the learning rate, clip the gradient's norm, or use a leaky activation.",
        step=trained.trial.steps,
    )
