"""What differs between examples is gone before it reaches the head.

The signal is q(1 - c): the second moment of an activation less what two examples have in common, which is what
differs between them. The loss can only use that. Biases keep q itself alive, so a vanished signal hides behind
activations of ordinary size. The rule compares the signal that enters the last layer with that of the input, or with
one where the input is larger, and speaks where less than e^-12 of it is left: the loss over twice six depth scales.

What to do: raise the gain of the weights (INI001 says to what), use an activation of larger slope, or put norms or
residual connections in between.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
for layer in (model[0], model[2]):
    nn.init.normal_(layer.weight, std=1e-4)
    nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the last layers are zero on purpose in a branch that a residual connection passes by.

Reference: Poole et al. 2016, equations 3 and 5; Schoenholz et al. 2017, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Measured
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, is_lost, log_ratio, written
from steadygrad.finding import Finding


def check(measured: Measured) -> Iterator[Finding]:
    """Look at what enters the head."""
    if measured.head is None or len(measured.weighted) < 2:
        return
    (layer, call), came = measured.head, measured.observation.input_signal
    seen, noise = call.entering_signal, measured.noise()
    signal = max(seen, noise) if seen == seen else seen
    left = log_ratio(signal, min(came, 1.0))
    if not is_lost(left):
        return
    less = "less than " if seen < noise else ""
    yield Finding(
        code="FWD001",
        name="vanishing-signal",
        level=level_of(left),
        message=f"What differs between examples, q(1 - c), is {came:.2g} at the input and {less}{signal:.2g} where it "
        f"enters the last layer: {less}{written(left)} of it is left.",
        module=layer.path,
        measured=signal,
        expected=min(came, 1.0) * math.exp(-LOST),
        # A variance over B examples has a relative error of sqrt(2/(B-1)) for one Gaussian entry, less for many.
        standard_error=signal * math.sqrt(2 / max(measured.batch_size - 1, 1)),
        count=measured.batch_size,
        fix="Raise the gain of the weights to what their activation asks for, or put norms or residual connections in.",
    )
