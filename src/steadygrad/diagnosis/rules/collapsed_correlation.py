"""All examples look the same at the last layer.

c = E[xy]/q is the correlation of two distinct examples. In the ordered phase each layer brings it nearer to one; 1 -
c is the share of the activations that tells examples apart. What is common to all examples makes the largest
curvature of the loss, so the learning rate is bound by it, while the share 1 - c learns slower by c / (1 - c): the
condition number. The rule speaks where 1 - c at the entrance of the last layer is below e^-12 of that of the input,
some 160,000 times slower. A ReLU network at its right gain loses it slowly, 1 - c ~ 9 pi²/(2 l²) after l layers, and
is not meant.

What to do: raise the weights against the biases; use an activation that is centred, or norms, or residual
connections.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(10) for part in (nn.Linear(32, 32), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
for layer in model[:-1]:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.2 / 32**0.5)
        nn.init.normal_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
layers = [part for _ in range(10) for part in (nn.Linear(32, 32), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(32, 10))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the examples of the batch are meant to be alike.

Reference: Poole et al. 2016, equation 5; Schoenholz et al. 2017, equations 7 to 9; Hayou et al. 2019,
proposition 1 (ReLU).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Measured
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, is_lost, log_ratio, written
from steadygrad.finding import Finding


def check(measured: Measured) -> Iterator[Finding]:
    """Compare 1 - c where it enters the head with that of the input."""
    distances = measured.distances()
    if measured.head is None or distances is None or len(measured.weighted) < 2:
        return
    came, seen = distances
    floor = measured.noise() / measured.head[1].entering_q
    entering = max(seen, floor)
    left = log_ratio(entering, came)
    if not is_lost(left):
        return
    less = "less than " if seen < floor else ""
    yield Finding(
        code="FWD003",
        name="collapsed-correlation",
        level=level_of(left),
        message="All examples look the same at the last layer: 1 - c, the share that tells them apart, "
        f"falls from {came:.2g} at the input to {less}{entering:.2g}, to {less}{written(left)} of it.",
        module=measured.head[0].path,
        measured=entering,
        expected=came * math.exp(-LOST),
        standard_error=entering * math.sqrt(2 / max(measured.batch_size - 1, 1)),
        count=measured.batch_size,
        fix="Raise the weights against the biases, use a centred activation, or put norms or residual connections in.",
    )
