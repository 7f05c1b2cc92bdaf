"""Activations grow through the network beyond any scale that the loss can take.

Each layer or block multiplies the second moment q by a factor above one; over the depth that is a power. The loss
starts huge, its gradient too, and the first step throws the weights away; half precision overflows first. The rule
speaks where q at the entrance of the last layer, or at the last layer before infinity, is above e^12 times that of
the input, or times one where the input is smaller. Where a single operator grows it by as much, its line is named. An
infinity that a mask puts, or a logarithm or quotient at zero makes, is another defect.

What to do: lower the gain of the weights; scale each residual branch by 1/sqrt(number of blocks); put norms in; bound
what an exponential is given.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
for layer in (model[0], model[2]):
    nn.init.normal_(layer.weight, std=30.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the targets are of that size, and the loss is scaled to it.

Reference: He et al. 2015, equation 10; Zhang et al. 2019 (Fixup), section 2; Hayou et al. 2021 (stable ResNet),
section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import takewhile

from steadygrad.diagnosis.evidence import Leap, Measured, NonfiniteOrigin
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.paths import at_line
from steadygrad.diagnosis.trainable_depth import LOST, log_ratio, written
from steadygrad.finding import Finding
from steadygrad.measurement.bad_number import POLES
from steadygrad.profile import LayerSignal

_FIX = "Lower the gain of the weights, scale residual branches by 1/sqrt(number of blocks), or put norms in."
_EXPONENTIALS = frozenset(("exp", "exp2", "expm1", "sinh", "cosh"))
_BOUND = "Bound what the exponential is given, by `clamp` or by a smaller scale, or take `softplus` in its place."


def check(measured: Measured, origin: NonfiniteOrigin, leap: Leap) -> Iterator[Finding]:
    """Look at what enters the head, and at the first layer that overflows."""
    reached = _largest(measured, overflows=_overflows(origin))
    if reached is None:
        return
    path, q, layer = reached
    reference = max(measured.observation.input_q, 1.0)
    grown = log_ratio(q, reference)
    if not grown > LOST:
        return
    yield Finding(
        code="FWD002",
        name="exploding-signal",
        level=level_of(grown),
        message=f"The second moment of the activations grows from {measured.observation.input_q:.2g} at the input to "
        f"{q:.2g} at {path!r}: by {written(grown)}.{_said(leap)}",
        module=path,
        measured=q,
        expected=reference * math.exp(LOST),
        standard_error=None if layer is None else layer.q_high - layer.q,
        count=measured.batch_size,
        fix=_BOUND if leap.operation and leap.operation.name in _EXPONENTIALS else _FIX,
    )


def _said(leap: Leap) -> str:
    """The operator that does it alone; one of a layer is named by its path."""
    if leap.operation is None:
        return ""
    in_layer = leap.operation.call is not None
    where = f" in {leap.operation.path!r}" if in_layer and leap.operation.path else at_line(leap.operation.line)
    return f" `{leap.operation.name}`{where} alone multiplies it by {written(leap.grown)}."


def _overflows(origin: NonfiniteOrigin) -> bool:
    """Whether an infinity comes of numbers that grew: neither of a mask nor of a logarithm or quotient at 0."""
    if not origin.traced:
        return True
    return origin.forward is not None and origin.forward[1].operator not in POLES


def _largest(measured: Measured, *, overflows: bool) -> tuple[str, float, LayerSignal | None] | None:
    """Where an output is infinite: there; else the largest before one that is no number, or what enters the head."""
    infinite = next((layer for layer, _ in measured.rows if math.isinf(layer.q)), None)
    if infinite is not None and overflows:
        return infinite.path, math.inf, None
    layers = [layer for layer, _ in measured.rows]
    numbers = list(takewhile(lambda layer: math.isfinite(layer.q), layers))
    if overflows and numbers and len(numbers) < len(layers):
        largest = max(numbers, key=lambda layer: layer.q)
        return largest.path, largest.q, largest
    if measured.head is None or len(measured.weighted) < 2:
        return None
    layer, call = measured.head
    return (layer.path, call.entering_q, None) if overflows or math.isfinite(call.entering_q) else None
