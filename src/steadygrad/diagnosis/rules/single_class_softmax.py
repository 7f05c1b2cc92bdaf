"""A softmax runs over a dimension of size one, where it is 1 whatever the model says.

exp(z) / exp(z) = 1: the output is constant, its gradient is zero, nothing is learned. It happens where a model with one
output for two classes ends in a softmax, where the softmax runs over the wrong dimension, or where `cross_entropy`,
which has a softmax in it, is given a single column.

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

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import LossPair, LossRun
from steadygrad.finding import Finding, Level

_WITH_SOFTMAX = ("cross_entropy", "log_softmax", "softmax")


def check(run: LossRun) -> Iterator[Finding]:
    """One finding, for the first loss that is given such a softmax or applies it."""
    found = next((pair for pair in run.pairs if pair.head.classes == 1 or _applies_it(pair)), None)
    if found is None:
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


def _applies_it(pair: LossPair) -> bool:
    # Class probabilities of shape [N, 1] are the only targets that such a cross-entropy could have a use for.
    return pair.name in _WITH_SOFTMAX and pair.input.dim() == 2 and pair.classes == 1
