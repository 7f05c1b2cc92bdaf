"""A number in float16 passes 65504, the largest that the format holds, and becomes infinite.

Squares and sums reach it first: the sum of 512 squares of numbers near 12 does. What is divided by it becomes zero,
and what is subtracted from it NaN; the loss may well stay finite, and the network gives one output for all inputs. The
rule watches every operator that makes float16 of finite numbers. It is an error where the result is infinite, and a
warning where its largest entry is within a factor of two, one binade, of the limit: another batch, or the first steps,
will pass it. Infinities of a mask, or of a logarithm or quotient at zero, are not meant.

What to do: compute such sums in float32, keep the signal at unit size, or use bfloat16, whose range is float32's.

Bad:

```python
import torch
from torch import nn


class UnitNorm(nn.Module):
    def forward(self, x):
        return x / x.pow(2).sum(-1, keepdim=True).sqrt()


torch.manual_seed(0)
data = [(16 * torch.randn(64, 512).half(), torch.randint(10, (64,)))]
model = nn.Sequential(UnitNorm(), nn.Linear(512, 10)).half()
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class UnitNorm(nn.Module):
    def forward(self, x):
        wide = x.float()
        return (wide / wide.pow(2).sum(-1, keepdim=True).sqrt()).to(x.dtype)


torch.manual_seed(0)
data = [(torch.randn(64, 512).half(), torch.randint(10, (64,)))]
model = nn.Sequential(UnitNorm(), nn.Linear(512, 10)).half()
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the infinity is clamped before anything takes it.

Reference: IEEE 754-2019, table 3.5 (binary16); Micikevicius et al. 2018 (mixed precision training), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from steadygrad.diagnosis.evidence import Traced
from steadygrad.diagnosis.paths import at_line
from steadygrad.finding import Finding, Level
from steadygrad.measurement import Operation
from steadygrad.measurement.bad_number import PLACED, POLES
from steadygrad.theory import float_format

_LARGEST = float_format("float16").largest

# One binade, as far as a batch of other examples or a first step may well go.
_NEAR = _LARGEST / 2


def check(traced: Traced) -> Iterator[Finding]:
    """Name the first operator that passes the limit, or comes near it."""
    half = [o for o in traced.operations.forward if o.dtype == torch.float16 and o.name not in PLACED and _is_signal(o)]
    over = next((o for o in half if math.isinf(o.largest) and o.largest_given < math.inf and not _at_pole(o)), None)
    near = next((o for o in half if _NEAR < o.largest < math.inf and o.largest_given <= _NEAR), None)
    if over is not None:
        yield _finding(over, Level.ERROR, "is infinite", math.inf)
    elif near is not None:
        yield _finding(near, Level.WARN, f"reaches {near.largest:.5g}", near.largest)


def _is_signal(operation: Operation) -> bool:
    """A mask may be a small number times a huge one; data that overflow are large themselves."""
    return operation.needs_grad or operation.largest_given > math.sqrt(_LARGEST)


def _at_pole(operation: Operation) -> bool:
    return operation.name in POLES


def _finding(operation: Operation, level: Level, what: str, largest: float) -> Finding:
    where = repr(operation.path) if operation.path else "the model" if operation.phase == "model" else "the loss"
    return Finding(
        code="NUM001",
        name="half-precision-overflow",
        level=level,
        message=f"The result of `{operation.name}` in {where}{at_line(operation.line)} {what} in float16, which ends "
        f"at 65504; the largest number that it is made of is {operation.largest_given:.4g}.",
        module=operation.path if operation.phase == "model" else None,
        measured=largest,
        expected=_NEAR,
        count=math.prod(operation.shape),
        fix="Compute that sum or product in float32, keep the signal at unit size, or use bfloat16.",
        line=str(operation.line) if operation.line else None,
    )
