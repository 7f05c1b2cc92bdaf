"""The gradient is gone before it reaches the first layer.

On its way back the squared norm of an example's gradient is multiplied in every layer by chi_1 = sigma_w²
E[phi'(u)²]. A sigmoid, whose slope is at most 1/4, passes at most a sixteenth of sigma_w². The rule compares the
squared norm at the first layer of the trunk with that at its last, and speaks where less than e^-12 is left. A layer
right before a norm is scale-free: the norm's output stands in for it. Where no gradient comes at all, or it is zero at
once and not step by step, as behind a rounding, another rule speaks.

A recurrent layer is deep in time: there each step multiplies. A gradient at the first step of a sequence that is below
e^-12 of the largest is worth knowing, since many tasks ask for no such memory, and one that does may be learned from
the end on; where a trial comes to nothing it is the probable cause. Whether a task asks for it a linear fit shows: on
other examples the steps that are not reached explain a tenth of the targets' variance beyond what the later ones do. A
loop over the steps by the model's own code, which calls a layer at each, counts as such a layer.

What to do: use an activation of slope near one, the gain that it asks for, norms or residual connections.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(8) for part in (nn.Linear(32, 32), nn.Sigmoid())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(8) for part in (nn.Linear(32, 32), nn.SELU())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the first layers are trained before and stay as they are.

Reference: Schoenholz et al. 2017, equation 15; Glorot and Bengio 2010, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Measured, Memories, Memory
from steadygrad.diagnosis.gradient_ratio import gradient_ratio
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, written
from steadygrad.finding import Finding, Level


def check(measured: Measured, memories: Memories) -> Iterator[Finding]:
    """Compare the squared gradient of an example at both ends of the trunk, and of each sequence."""
    yield from (_forgetful(memory) for memory in memories.short)
    found = gradient_ratio(measured)
    if found is None or not found.logarithm < -LOST:
        return
    yield Finding(
        code="BWD001",
        name="vanishing-gradient",
        level=level_of(found.logarithm),
        message=f"On its way back from {found.last!r} to {found.first!r} the squared gradient is multiplied by "
        f"{written(found.logarithm)}: the first layers hardly learn.",
        module=found.first,
        measured=found.factor,
        expected=math.exp(-LOST),
        standard_error=found.standard_error,
        count=measured.batch_size,
        fix="Use an activation of slope near one with the gain it asks for, or put norms or residual connections in.",
    )


def _forgetful(memory: Memory) -> Finding:
    asked = f" The targets ask for it: a linear fit explains {memory.needed:.0%} of them by those steps alone."
    return Finding(
        code="BWD001",
        name="vanishing-gradient",
        level=Level.INFO,
        message=f"The gradient of {memory.path!r} reaches {memory.reached} of {memory.steps} steps back: at the first "
        f"one its square is {written(memory.logarithm)} of the largest, so what a sequence begins with is not learned."
        f"{asked if memory.is_needed else ''}",
        module=memory.path,
        measured=memory.at_first,
        expected=memory.largest * math.exp(-LOST),
        count=memory.examples,
        fix="Draw the recurrent weights orthogonal, give an LSTM a forget bias above 0, or shorten the way: attention, "
        "pooling over the steps, or a bidirectional layer.",
    )
