"""What differs between examples is gone before it reaches the head.

The signal is q(1 - c): the second moment of an activation less what two examples have in common, which is what
differs between them. The loss can only use that. Biases keep q itself alive, so a vanished signal hides behind
activations of ordinary size. The rule compares the signal that enters the last layer with that of the input, or with
one where the input is larger, and speaks where less than e^-12 of it is left: the loss over twice six depth scales.
Where a single module loses as much, and nothing behind it has the signal by another way, it is named.

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
from dataclasses import dataclass

import torch

from steadygrad.diagnosis.evidence import Measured
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, is_lost, log_ratio, written
from steadygrad.finding import Finding

_FIX = "Raise the gain of the weights to what their activation asks for, or put norms or residual connections in."


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
    place = _lost_at(measured)
    yield Finding(
        code="FWD001",
        name="vanishing-signal",
        level=level_of(left),
        message=f"What differs between examples, q(1 - c), is {came:.2g} at the input and {less}{signal:.2g} where it "
        f"enters the last layer: {less}{written(left)} of it is left.{_said(place)}",
        module=place.path if place else layer.path,
        measured=signal,
        expected=min(came, 1.0) * math.exp(-LOST),
        # A variance over B examples has a relative error of sqrt(2/(B-1)) for one Gaussian entry, less for many.
        standard_error=signal * math.sqrt(2 / max(measured.batch_size - 1, 1)),
        count=measured.batch_size,
        fix=f"Give {place.path!r} a weight that is not zero." if place and place.zero else _FIX,
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A module that loses by itself what may be lost over the whole depth."""

    path: str
    kind: str
    zero: bool


def _lost_at(measured: Measured) -> _Place | None:
    """The first such module, where none that comes after it has the signal by another way."""
    rows, floor = measured.rows, measured.observation.input_signal * math.exp(-LOST)
    for i, (layer, call) in enumerate(rows):
        entering = call.entering_signal
        if math.isnan(entering) and call.sources:
            entering = rows[call.sources[0]][0].signal
        if entering > floor and is_lost(log_ratio(layer.signal, entering)):
            if any(later.signal > floor for later, _ in rows[i + 1 :]):
                return None
            weight = getattr(call.module, "weight", None)
            zero = isinstance(weight, torch.Tensor) and not bool(weight.detach().any())
            return _Place(path=layer.path, kind=layer.kind, zero=zero)
    return None


def _said(place: _Place | None) -> str:
    if place is None:
        return ""
    why = ", whose weight is zero throughout" if place.zero else ""
    return f" {place.path!r} ({place.kind}) loses it{why}."
