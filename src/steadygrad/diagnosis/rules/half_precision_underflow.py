"""Gradients in float16 are smaller than the smallest number that the format holds, and become zero.

float16 ends at 6e-8 below, and half of that and less is rounded to zero. A loss that is a mean over many entries, or a
network that loses gradient over its depth, sends such gradients back; where most entries of a layer's gradient become
zero, the layer learns from the few large ones alone, or not at all. The rule measures the second moments of the
gradients in single precision, on a copy where the parameters themselves are halves, takes the entries as Gaussian,
and speaks where more than half of them are lost at some layer with weights; beyond 1% it is worth knowing.

What to do: multiply the loss by a scale and divide the gradients by it before the step (`torch.amp.GradScaler`), or use
bfloat16.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32).half(), torch.randn(64, 10).half())]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)).half()


def loss_fn(outputs, targets):
    return 1e-5 * nn.functional.mse_loss(outputs.float(), targets.float())


setup = {"model": model, "data": data, "loss_fn": loss_fn}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32).half(), torch.randn(64, 10).half())]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)).half()


def loss_fn(outputs, targets):
    return nn.functional.mse_loss(outputs.float(), targets.float())


setup = {"model": model, "data": data, "loss_fn": loss_fn}
```

When to ignore: a gradient scaler, which is not part of this setup, multiplies the loss.

Reference: Micikevicius et al. 2018 (mixed precision training), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import HalfGradients
from steadygrad.diagnosis.paths import listed
from steadygrad.finding import Finding, Level

# Where more than half of the entries are lost, the median entry is zero.
_HALF = 0.5


def check(half: HalfGradients) -> Iterator[Finding]:
    """Name the layer that loses most."""
    if half.found is None:
        return
    losing = [row for row in half.found.layers if row.path in half.weighted and row.path in half.found.losing]
    if not losing:
        return
    worst = max(losing, key=lambda row: row.lost)
    scale = half.found.loss_scale
    cure = f"A loss scale of {scale:g} saves them." if math.isfinite(scale) else "No one loss scale saves them all."
    yield Finding(
        code="NUM002",
        name="half-precision-underflow",
        level=Level.WARN if worst.lost > _HALF else Level.INFO,
        message=f"{100 * worst.lost:.3g}% of the gradient at {worst.path!r} is below what float16 holds and becomes "
        f"zero; {listed([row.path for row in losing])} lose more than 1%.",
        module=worst.path,
        measured=worst.lost,
        expected=_HALF,
        count=len(half.weighted),
        fix=f"{cure} Use `torch.amp.GradScaler`, or bfloat16.",
    )
