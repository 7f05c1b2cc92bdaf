"""Most units sit on the flat parts of their activation, so hardly any gradient passes them.

tanh, sigmoid and their hard kin are flat on both sides. A pre-activation that is large against one puts a unit there,
where it says the same for every example and learns next to nothing. The rule takes the activation's own derivative at
each pre-activation that came: an entry is saturated where the slope is at most e^-3 of the steepest, so that its
square is below e^-6, which six depth scales leave of a gradient. Entries that are off, as a ReLU's below zero, are not
saturated: half of those are, and should be. It speaks where more than half of a layer's entries are, beyond five
standard errors of a fair coin for each unit. Gates, which are multiplied into a signal, are meant to be open or shut,
and what follows the last layer answers to the loss: neither is looked at.

What to do: lower the weights or the input before that activation, to pre-activations of about one.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
nn.init.normal_(model[0].weight, std=3.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
nn.init.xavier_normal_(model[0].weight)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the activation is meant as a switch.

Reference: Glorot and Bengio 2010, section 3; Schoenholz et al. 2017, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Flow, Stage
from steadygrad.finding import Finding, Level
from steadygrad.measurement.slopes import FlatShare

_HALF = 0.5


def check(flow: Flow) -> Iterator[Finding]:
    """One finding, at the layer with the largest share."""
    found = [
        (stage.flat, stage)
        for i, stage in enumerate(flow.stages)
        if stage.flat is not None and stage.flat.saturated > _most(stage.flat) and _passes_signal(flow, i)
    ]
    if found:
        flat, stage = max(found, key=lambda row: row[0].saturated)
        yield _finding(flat, stage, len(found))


def _most(flat: FlatShare) -> float:
    return min(_HALF + 5 * math.sqrt(_HALF * (1 - _HALF) / flat.units), 1 - 0.5 / flat.units)


def _passes_signal(flow: Flow, i: int) -> bool:
    """Whether a layer takes what the activation makes: it is neither a gate nor the model's answer."""
    seen, waiting = set[int](), [i]
    while waiting:
        for taker in flow.takers(waiting.pop()):
            stage = flow.stages[taker]
            if stage.operation.name == "mul" and stage.module is None and len(stage.sources) > 1:
                return False
            if stage.fan_in is not None or stage.operation.name in ("mm", "bmm", "addmm", "convolution"):
                return True
            if taker not in seen:
                seen.add(taker)
                waiting.append(taker)
    return False


def _finding(flat: FlatShare, stage: Stage, layers: int) -> Finding:
    others = f", and of {layers - 1} more such activations" if layers > 1 else ""
    where = repr(stage.path) if stage.path else "the model"
    line = stage.operation.line if stage.module is None else None
    return Finding(
        code="FWD004",
        name="saturated-units",
        level=Level.WARN,
        message=f"{100 * flat.saturated:.3g}% of the entries of {stage.name} in {where}{others} lie where its slope is "
        "at most a twentieth of the steepest: hardly any gradient passes them.",
        module=stage.path,
        measured=flat.saturated,
        expected=_HALF,
        standard_error=math.sqrt(flat.saturated * (1 - flat.saturated) / flat.units),
        count=flat.entries,
        fix="Lower the weights or the input before this activation until pre-activations are of about one.",
        line=str(line) if line else None,
    )
