"""A gradient is NaN or infinite, although the forward pass and the loss are finite.

A derivative may be infinite where the function is not: sqrt at 0, a norm at 0, x^p with p < 1. The infinity times
a zero that comes from above, as from the branch that `torch.where` does not take, is NaN. The first step writes it
into every weight below. The rule names the first module, counted from the loss backwards, whose output received such
a gradient, and the operator after it, with its line, whose derivative made it. Where the first batch is well, the
first of the others that is not counts.

What to do: keep the argument away from the point before the function is taken, in the branch that is not used too.

Bad:

```python
import torch
from torch import nn


class Root(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, torch.sqrt(x), x)        # the derivative of sqrt(x) at x < 0 is NaN


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), Root(), nn.Linear(64, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class Root(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, 1)), x)


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), Root(), nn.Linear(64, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: a gradient scaler or a guard skips such steps, and they are rare.

Reference: IEEE 754-2019, section 7.2 (0 times infinity is not a number).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import LaterBatch, Measured, NonfiniteOrigin
from steadygrad.diagnosis.evidence.nonfinite_origin import said
from steadygrad.finding import Finding, Level
from steadygrad.measurement import Operation
from steadygrad.measurement.bad_number import BadNumber

_FIX = (
    "Keep arguments of roots, norms, powers and quotients away from where their derivative is infinite, before the "
    "function is taken and also in a branch that `torch.where` leaves out."
)


def check(measured: Measured, origin: NonfiniteOrigin, later: LaterBatch) -> Iterator[Finding]:
    """Name the first gradient, from the loss backwards, that is not finite; of a later batch where one is well."""
    first = measured.observation.first_nonfinite
    if later.forward is None and later.backward is not None:
        yield _of_later(later, later.backward)
    if first is None or first.direction != "backward":
        return
    yield Finding(
        code="BWD004",
        name="non-finite-gradient",
        level=Level.ERROR,
        message=f"In the backward pass the gradient that reaches the output of {first.path!r} ({first.kind}) is NaN or "
        f"infinite, though the forward pass and the loss are finite.{said(origin.backward, backward=True)}",
        module=first.path,
        # The first alone is counted: a row without a gradient is NaN too, so those below cannot be told from it.
        measured=1.0,
        expected=0.0,
        count=len(measured.rows),
        fix=_FIX,
        line=str(origin.backward[0].line) if origin.backward and origin.backward[0].line else None,
    )


def _of_later(later: LaterBatch, origin: tuple[Operation, BadNumber]) -> Finding:
    operation = origin[0]
    return Finding(
        code="BWD004",
        name="non-finite-gradient",
        level=Level.ERROR,
        message=f"The backward pass of batch {later.index} makes NaN or infinity at the weights as they are, though "
        f"its forward pass is finite, and the batches before it are well.{said(origin, backward=True)}",
        module=operation.path if operation.phase == "model" else None,
        measured=1.0,
        expected=0.0,
        count=later.batches,
        fix=_FIX,
        line=str(operation.line) if operation.line else None,
    )
