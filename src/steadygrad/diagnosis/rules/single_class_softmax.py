"""A softmax runs over a dimension of size one, where it is 1 whatever the model says.

exp(z) / exp(z) = 1: the output is constant, its gradient is zero, nothing is learned. It happens where a model with one
output for two classes ends in a softmax, where the softmax runs over the wrong dimension, or where `cross_entropy`,
which has a softmax in it, is given a single column. Inside of a model, as where weights over positions are taken over
the one score that each position has, the scores are never learned: `warn`, since a batch may hold one position only.

What to do: one output and a sigmoid (`binary_cross_entropy_with_logits` has it in it), or two outputs and
`cross_entropy`.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(2, (64, 1)).float())]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1), nn.Softmax(dim=1))
setup = {"model": model, "data": data, "loss_fn": nn.BCELoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(2, (64, 1)).float())]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": data, "loss_fn": nn.BCEWithLogitsLoss()}
```

When to ignore: never in front of a loss.

Reference: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs" (softmax).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import LossPair, LossRun, Softmaxes
from steadygrad.finding import Finding, Level
from steadygrad.measurement import Operation

_WITH_SOFTMAX = ("cross_entropy", "log_softmax", "softmax")


def check(run: LossRun, softmaxes: Softmaxes) -> Iterator[Finding]:
    """One finding, for the first loss that is given such a softmax or applies it, else for one in the model."""
    found = next((pair for pair in run.pairs if pair.head.classes == 1 or _applies_it(pair)), None)
    if found is None:
        inside = next((o for o in softmaxes.over_one if o.needs_grad), None)
        if inside is not None:
            yield _inside(inside)
        return
    where = f"in {found.name}" if _applies_it(found) else "at the end of the model"
    yield Finding(
        code="LOS002",
        name="single-class-softmax",
        level=Level.ERROR,
        message=f"The softmax {where} runs over a dimension of size 1, where it is 1 for any input: the model gives "
        "one constant and gets no gradient.",
        measured=1.0,
        expected=2.0,
        count=found.input.numel(),
        fix="Use a sigmoid for one output (nn.BCEWithLogitsLoss applies it), or give the model an output a class.",
    )


def _inside(operation: Operation) -> Finding:
    where = f"in {operation.path!r}" if operation.path else "in the model"
    return Finding(
        code="LOS002",
        name="single-class-softmax",
        level=Level.WARN,
        message=f"A softmax {where} runs over a dimension of size 1 of a tensor {list(operation.shape)}, where it is 1 "
        "for any input: what it is computed from gets no gradient.",
        module=operation.path,
        measured=1.0,
        expected=2.0,
        count=math.prod(operation.shape),
        fix="Take the softmax over the dimension that it should choose from.",
        line=str(operation.line) if operation.line else None,
    )


def _applies_it(pair: LossPair) -> bool:
    # Class probabilities of shape [N, 1] are the only targets that such a cross-entropy could have a use for.
    return pair.name in _WITH_SOFTMAX and pair.input.dim() == 2 and pair.classes == 1
