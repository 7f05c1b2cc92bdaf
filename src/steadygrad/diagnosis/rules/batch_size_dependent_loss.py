"""The loss is a sum over the batch, so a step is as many times longer as there are examples.

The learning rate then belongs to one batch size: N examples make N times the step, and where N times the rate is
beyond what the curvature allows, training runs away. The rule gives the loss each example twice: with a mean the
gradient of an example halves, with a sum it stays. It then tries 40 steps on a copy of model and optimizer, with the
loss as it is and divided by N, and where that is not enough by the entries of an example too: `error` where it ends in
NaN or at e^2 times the loss of a constant guess as it is, `warn` where it stays worse than that guess while the divided
one beats it. Else it is `info`: optimizers such as Adam divide a constant factor out again, and a learning rate can be
chosen for the sum.

Where one term is summed and another averaged, as a divergence beside a reconstruction, their balance goes with the
batch size, and no learning rate puts it right: the sum alone is fitted. Of a batch given once, twice and three times
the averaged part stays and the summed one grows in proportion, so that three losses tell both. The rule trains 100
steps on the loss as it is, and 100 with the summed part divided by all that it sums: `warn` where the averaged part
stays at a constant output's as it is and falls by a tenth below it in the other run.

What to do: use the mean, `reduction="mean"`, for every term, over the same entries.

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

Reference: Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.1 (the gradient's normalisation by the batch);
Higgins et al. 2017, beta-VAE, appendix A.1 (a weight of the divergence by the sizes of both terms).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import DividedLoss, UnevenSums
from steadygrad.diagnosis.tried import level_of_comparison, words_of_comparison
from steadygrad.finding import Finding, Level


def check(loss: DividedLoss, parts: UnevenSums) -> Iterator[Finding]:
    """Speak of a sum over more than one example, and of one beside a mean."""
    if parts.is_uneven and (parts.hurts or not loss.is_sum):
        yield _uneven(parts)
        return
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


def _uneven(parts: UnevenSums) -> Finding:
    tried = (
        ""
        if math.isnan(parts.as_it_is)
        else f"; after 100 steps the averaged part is {parts.as_it_is:.3g} as it is and {parts.evened:.3g} with both "
        f"averaged, where a constant output has {parts.constant:.3g}"
    )
    return Finding(
        code="LOS008",
        name="batch-size-dependent-loss",
        level=Level.WARN if parts.hurts else Level.INFO,
        message=f"One part of the loss is averaged over the batch, {parts.averaged:.3g}, the other summed over its "
        f"{parts.batch_size} examples, {parts.summed:.3g}: their balance goes with the batch size{tried}.",
        measured=parts.summed,
        expected=parts.summed / (parts.batch_size * parts.entries),
        count=parts.batch_size,
        fix="Average every term over the same entries: .mean() in place of .sum(), or .sum(1).mean() for both.",
    )


def _beside(loss: DividedLoss) -> str:
    return ", over all pairs" * (loss.power > 1) + f" and {loss.entries} entries an example" * (loss.entries > 1)
