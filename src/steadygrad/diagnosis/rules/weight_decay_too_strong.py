"""Weight decay takes off what training puts into the weights.

Decoupled decay λ multiplies the weights by 1 - ηλ at every step, so that half of what a step adds is gone after about
ln 2 / ηλ steps: the weights hold the mean of the last 1/ηλ updates. Since an update of Adam is 1 an entry at most, no
entry stays above 1/λ. Decay that is a part of the gradient does the same to plain descent; of Adam it is part of what
is scaled, and where it is the larger part all that the steps follow. In the trial the rule asks what mends the run: it
looks where less than half of the loss went and there is decay enough to tell (it takes off a tenth of the weights in
100 steps, or is a tenth of the gradient), and speaks where the same trial without decay takes more than twice as much
off the loss, and that is a tenth of it or more. `error` where the run takes off less than a tenth of it.

What to do: lower the weight decay, so that 1/ηλ is as many steps as an epoch or more; Adam, which scales all of its
step, makes more of it than AdamW.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 20)
data = list(zip(x.split(32), x[:, :5].argmax(1).split(32)))
model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 5))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=20)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 20)
data = list(zip(x.split(32), x[:, :5].argmax(1).split(32)))
model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 5))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: small weights are the aim, and learning may take its time.

Reference: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", section 2; Xie and Li 2024, "Implicit
bias of AdamW", theorem 1.1 (the bound 1/λ); Wang and Aitchison 2024, "How to set AdamW's weight decay as you scale
model and dataset size" (the mean of the last 1/ηλ updates).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Optimized, RateTrials
from steadygrad.diagnosis.runs.remedy import PART, mends
from steadygrad.finding import Finding, Level


def check(optimized: Optimized, trials: RateTrials) -> Iterator[Finding]:
    """Compare the trial with the one without decay."""
    retrials = trials.retrials
    without = None if retrials is None else retrials.undecayed
    if retrials is None or without is None:
        return
    course, steps = retrials.trained.course, without.trial.steps
    if not mends(without.course, course, steps=steps):
        return
    decay = max(float(group.get("weight_decay") or 0.0) for group in optimized.optimizer.param_groups)
    yield Finding(
        code="OPT010",
        name="weight-decay-too-strong",
        level=Level.WARN if course.gain(steps) > PART * course.scale else Level.ERROR,
        message=f"At the weight decay {decay:g} the loss goes from {course.began.value:.4g} to "
        f"{course.ended.value:.4g}. Without weight decay it ends at {without.course.ended.value:.4g} after {steps} "
        f"steps.{_half_life(optimized)}",
        measured=decay,
        expected=0.0,
        count=steps,
        fix="Lower the weight decay; Adam, which scales all of its step, makes more of it than AdamW.",
        fix_code='for group in optimizer.param_groups:\n    group["weight_decay"] *= 0.01',
    )


def _half_life(optimized: Optimized) -> str:
    """Of weights that nothing else moves, where decay is no part of a gradient that is scaled."""
    rates = [
        float(group.get("lr") or 0.0) * float(group.get("weight_decay") or 0.0)
        for group in optimized.optimizer.param_groups
        if group.get("decoupled_weight_decay") or "betas" not in group
    ]
    shrinks = max(rates, default=0.0)
    return f" It halves weights in {max(-math.log(2) / math.log1p(-shrinks), 1):.2g} steps." if 0 < shrinks < 1 else ""
