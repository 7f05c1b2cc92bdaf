"""The loss is a sum over the batch, so a step is as many times longer as there are examples.

The learning rate then belongs to one batch size: N examples make N times the step, and where N times the rate is
beyond what the curvature allows, training runs away. The rule gives the loss each example twice: with a mean the
gradient of an example halves, with a sum it stays. It then tries 40 steps on a copy of model and optimizer, with the
loss as it is and divided by N, and where that is not enough by the entries of an example too: `error` where it ends in
NaN or at e^2 times the loss of a constant guess as it is, `warn` where it stays worse than that guess while the divided
one beats it. Else it is `info`: optimizers such as Adam divide a constant factor out again, and a learning rate can be
chosen for the sum.

What to do: use the mean, `reduction="mean"`.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(512, 4)
data = list(zip(inputs.split(128), inputs[:, :1].sin().split(128)))
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(reduction="sum"), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(512, 4)
data = list(zip(inputs.split(128), inputs[:, :1].sin().split(128)))
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: the learning rate was chosen for the sum, and the batch size stays.

Reference: Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.1 (the gradient's normalisation by the batch).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import DividedLoss
from steadygrad.diagnosis.tried import level_of_comparison, words_of_comparison
from steadygrad.finding import Finding


def check(loss: DividedLoss) -> Iterator[Finding]:
    """Speak of a sum over more than one example."""
    if not loss.is_sum:
        return
    yield Finding(
        code="LOS008",
        name="batch-size-dependent-loss",
        level=level_of_comparison(loss.comparison),
        message=f"The loss is summed over the batch{_beside(loss)}, so a step is {loss.factor} "
        f"times as long as with the mean{words_of_comparison(loss.comparison, 'with the mean')}.",
        measured=loss.growth,
        expected=0.5,
        count=loss.batch_size,
        fix='Take the mean over the batch: reduction="mean", or divide the loss by len(targets).',
    )


def _beside(loss: DividedLoss) -> str:
    return ", over all pairs" * (loss.power > 1) + f" and {loss.entries} entries an example" * (loss.entries > 1)
