"""Outputs and targets of different shapes are stretched against each other: the loss compares what are no pairs.

[N, 1] against [N] becomes [N, N]: each output is compared with the targets of all examples, and the best that it can
do is their mean. The shapes are read where the loss subtracts, in torch's own losses and in those written by hand. Only
tensors of different dimensions that grow on both sides are meant: all pairs that are written out, as
`x[:, None] - y[None, :]`, are left alone. In torch's own losses [N, 1] against [N, K] is told as well: one output
stands for K targets of its example, and the best that it can do is their mean (`warn`).

What to do: give both the same shape, `targets[:, None]` or `outputs.squeeze(-1)`.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 4), torch.randn(64))]
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": data, "loss_fn": lambda outputs, targets: ((outputs - targets) ** 2).mean()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 4), torch.randn(64))]
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": data, "loss_fn": lambda outputs, targets: ((outputs[:, 0] - targets) ** 2).mean()}
```

When to ignore: all pairs are meant; write both shapes out, and the rule is silent.

Reference: NumPy, "Broadcasting", general rules, which torch follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Broadcast, LossRun
from steadygrad.finding import Finding, Level


def check(run: LossRun) -> Iterator[Finding]:
    """One finding, for the first place."""
    if not run.broadcasts:
        return
    found = run.broadcasts[0]
    outputs, result = math.prod(found.outputs), math.prod(found.result)
    if not found.mixes_examples:
        yield _one_for_many(found)
        return
    few = len(found.outputs) > len(found.targets)
    yield Finding(
        code="LOS006",
        name="broadcast-loss",
        level=Level.ERROR,
        message=f"The loss compares outputs of shape {list(found.outputs)} with targets of shape "
        f"{list(found.targets)} as {list(found.result)}: each output "
        "meets the targets of all examples, and learns their mean.",
        measured=float(result),
        expected=float(outputs),
        count=result,
        fix=f"Give both one shape, {list(found.outputs)}.",
        fix_code="targets = targets.reshape(outputs.shape)" if few else "outputs = outputs.reshape(targets.shape)",
    )


def _one_for_many(found: Broadcast) -> Finding:
    outputs, result = math.prod(found.outputs), math.prod(found.result)
    return Finding(
        code="LOS006",
        name="broadcast-loss",
        level=Level.WARN,
        message=f"`{found.name}` compares outputs of shape {list(found.outputs)} with targets of shape "
        f"{list(found.targets)}: each output stands for {result // outputs} targets of its example, and learns their "
        "mean.",
        measured=float(outputs),
        expected=float(result),
        count=result,
        fix=f"Let the model give as many outputs as there are targets, {list(found.targets)}.",
    )
