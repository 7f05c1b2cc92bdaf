"""A few batches have gradients so large that a single step on one throws the weights away.

Outliers in the data, rare long sequences or a loss without bound give most batches a gradient of ordinary size and some
one that is tens or thousands of times as large. Gradient descent then makes a step of that size. The rule measures the
norm of the gradient batch by batch at the first weights. It speaks where the largest is more than ten times the median
and more than five robust standard deviations above it on a logarithmic scale, and where a single step of the setup's
own optimizer on that batch at least doubles the loss of ordinary batches, which a step on an ordinary batch does not.
An optimizer that clips, or that divides by the size of its gradients, passes. It also speaks where the tail is there
and a trial that goes badly goes well with the same rate and gradients clipped at the median.

What to do: clip the gradient's norm near its median, as the finding says; look at the examples of that batch; or take
a loss that grows more slowly, as Huber's.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 8)
y = x[:, :1] - x[:, 1:2]
y[::100] = 1000.0
data = list(zip(x.split(16), y.split(16)))
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 8)
y = x[:, :1] - x[:, 1:2]
data = list(zip(x.split(16), y.split(16)))
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: the training loop clips, and the setup does not show it.

Reference: Pascanu et al. 2013, section 3.2; Zhang et al. 2020 (heavy tails), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import GradientTail, Rates, RateTrials
from steadygrad.diagnosis.runs.remedy import mends
from steadygrad.finding import Finding, Level

# One rate suits norms within a factor of ten of each other: rates are chosen on a logarithmic grid of about that step.
_TIMES_MEDIAN = 10.0

# Robust standard deviations of the log-norm: a log-normal norm lies beyond five once in 3.5 million batches.
_SURE = 5.0

# What a step must do to the loss of ordinary batches to count as damage.
_DAMAGE = 2.0


def check(tail: GradientTail, rates: Rates, trials: RateTrials) -> Iterator[Finding]:
    """Look for a tail, and for what its step does."""
    heavy = tail.largest > _TIMES_MEDIAN * tail.median and tail.z > _SURE
    if heavy and (_harmful(tail) or _mended(trials)):
        yield _finding(tail, rates)


def _harmful(tail: GradientTail) -> bool:
    scale = abs(tail.before)
    return tail.after > tail.before + (_DAMAGE - 1) * scale and not tail.after_usual > tail.before + scale / 2


def _mended(trials: RateTrials) -> bool:
    found = trials.retrials
    if found is None or found.clipped is None:
        return False
    return mends(found.clipped.course, found.trained.course, steps=found.clipped.trial.steps)


def _finding(tail: GradientTail, rates: Rates) -> Finding:
    many = sum(norm > _TIMES_MEDIAN * tail.median for norm in tail.norms)
    return Finding(
        code="OPT003",
        name="clipping-needed",
        level=Level.ERROR,
        message=f"The gradient of {many} of {len(tail.norms)} batches is more than ten times the median norm of "
        f"{tail.median:.3g}, up to {tail.largest:.3g}; one step on it takes the loss of ordinary batches from "
        f"{tail.before:.3g} to {tail.after:.3g}.",
        measured=tail.largest,
        expected=tail.median,
        count=len(tail.norms),
        fix=f"Clip the gradient's norm at about {tail.median:.2g} before each step at the learning rate "
        f"{rates.rate:g}, and look at the examples whose gradients are so large.",
        fix_code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {tail.median:.2g})",
    )
