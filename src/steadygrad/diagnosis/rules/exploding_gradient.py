"""The gradient grows on its way back beyond any step that suits both ends.

Where sigma_w² E[phi'(u)²] is above one, the chaotic phase, the squared gradient grows by it in every layer: the first
layers are thrown about by a step that the last ones hardly feel. Norms do not prevent it: batch norm before ReLU
multiplies by pi/(pi - 1) a layer. The rule compares the squared norm of an example's gradient at the first layer of
the trunk with that at its last, and speaks where it grew by more than e^12.

A recurrent layer is deep in time: its weights multiply at every step, and where they are too large a change of how a
sequence begins changes everything behind it. The rule compares the squared gradients at the first and at the last step,
for the median example, in the same way; a loop over the steps by the model's own code counts as such a layer.

What to do: lower the gain of the weights, put in residual connections, or clip the gradient's norm; draw recurrent
weights orthogonal, or with the deviation 1/sqrt(hidden size).

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(12) for part in (nn.Linear(32, 32), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=6 / 32**0.5)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(12) for part in (nn.Linear(32, 32), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: an optimizer that scales each layer by itself is used with a rate made for it.

Reference: Schoenholz et al. 2017, equation 15; Yang et al. 2019 (batch norm), theorem 3.9; Pascanu et al. 2013, section
2.1 (recurrent layers).
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
    yield from (_wild(memory) for memory in memories.wild)
    found = gradient_ratio(measured)
    if found is None or not found.logarithm > LOST:
        return
    yield Finding(
        code="BWD002",
        name="exploding-gradient",
        level=level_of(found.logarithm),
        message=f"On its way back from {found.last!r} to {found.first!r} the squared gradient is multiplied by "
        f"{written(found.logarithm)}: no step size suits both ends.",
        module=found.first,
        measured=found.factor,
        expected=math.exp(LOST),
        standard_error=found.standard_error,
        count=measured.batch_size,
        fix="Lower the gain of the weights, put residual connections in, or clip the gradient's norm.",
    )


def _wild(memory: Memory) -> Finding:
    return Finding(
        code="BWD002",
        name="exploding-gradient",
        level=Level.WARN,
        message=f"Over {memory.steps} steps back in time the squared gradient of {memory.path!r} is multiplied by "
        f"{written(memory.growth)}: how a sequence begins throws everything behind it about.",
        module=memory.path,
        measured=memory.at_first,
        expected=memory.at_first * math.exp(LOST - memory.growth),
        count=memory.examples,
        fix="Draw the recurrent weights orthogonal, or with the deviation 1/sqrt(hidden size).",
    )
