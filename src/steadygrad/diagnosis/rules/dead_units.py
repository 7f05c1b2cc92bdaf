"""Units give zero, with zero derivative, on every example.

A ReLU unit that is off for an example gets no gradient from it; one that is off for all of them never learns again.
Half the entries of a ReLU layer are zero at initialization, and that is healthy: what counts is a unit that is zero
on every example. In a deep network examples look more and more alike, so that a unit is off for all or for none; by
symmetry at most half of the units are then off. The rule speaks where more than half are, beyond five standard errors
of a fair coin, and calls it an error where a whole layer is: nothing passes it. An activation that is called as a
function, as `F.relu` or `x.clamp(min=0)`, is looked at where it takes what a layer made.

What to do: set biases to zero or slightly above; scale the input; use a leaky activation; widen narrow layers.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
nn.init.constant_(model[0].bias, -6.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
nn.init.zeros_(model[0].bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: most inputs are rare events and the batch holds none of them.

Reference: Lu et al. 2019 (dying ReLU), theorem 3; He et al. 2015, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import DeadShare, DeadShares
from steadygrad.finding import Finding, Level

# By symmetry a unit of zero-mean weights and zero bias is off for a given input with probability 1/2, and for all
# inputs with less.
_SYMMETRIC = 0.5


def check(activations: DeadShares) -> Iterator[Finding]:
    """One finding, at the layer with the largest share of dead units."""
    dead = [share for share in activations.shares if share.fraction > _most(share.units)]
    if dead:
        yield _finding(max(dead, key=lambda share: share.fraction), layers=len(dead))


def _most(units: int) -> float:
    """The share that a fair coin for each unit may give; a whole layer is dead whatever its width."""
    return min(_SYMMETRIC + 5 * math.sqrt(_SYMMETRIC * (1 - _SYMMETRIC) / units), 1 - 0.5 / units)


def _finding(worst: DeadShare, *, layers: int) -> Finding:
    others = f", and {layers - 1} more such layers" if layers > 1 else ""
    where = repr(worst.path) if worst.path else "the model"
    whose = f"{worst.name} in {where}" if worst.name else where
    return Finding(
        code="FWD005",
        name="dead-units",
        level=Level.ERROR if worst.fraction == 1 else Level.WARN,
        message=f"{round(worst.fraction * worst.units)} of {worst.units} units of {whose} are zero, with zero "
        f"derivative, on all {worst.examples} examples{others}: no gradient passes them.",
        module=worst.path,
        measured=worst.fraction,
        expected=_SYMMETRIC,
        standard_error=math.sqrt(worst.fraction * (1 - worst.fraction) / worst.units),
        count=worst.units,
        fix="Set the biases before this activation to zero, check the scale of its input, or use a leaky activation.",
        line=worst.line,
    )
