"""A module's output or the loss is NaN or infinite, although the batch is finite.

Once a number is not finite, what is computed from it is not either: the loss is no number, every gradient is NaN, and
the first step writes NaN into every weight. The rule names the first call, in the order of execution, whose output is
not finite; a module that computes between its children stands for itself, and the loss where every output is finite.
It is an error where the loss is not finite or where no loss was given; a warning where the loss is finite all the
same, as with a mask of -inf before a softmax. Where the first batch is well, the others are run at the weights as they
are, and the first whose loss is not finite counts.

What to do: take logarithms in one step with what they are taken of (`log_softmax`, `logsigmoid`, `logsumexp`, losses
with logits), and keep roots and quotients away from zero by adding a small number before, not after.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def loss_fn(outputs, targets):
    return nn.functional.nll_loss(torch.log(outputs), targets)     # outputs are logits: half of them are negative


setup = {"model": model, "data": data, "loss_fn": loss_fn}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def loss_fn(outputs, targets):
    return nn.functional.nll_loss(torch.log_softmax(outputs, 1), targets)


setup = {"model": model, "data": data, "loss_fn": loss_fn}
```

When to ignore: the infinity is a mask that a later softmax or maximum takes away.

Reference: IEEE 754-2019, sections 6.1 and 6.2 (infinity, and NaN from a NaN operand).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from steadygrad.diagnosis.evidence import LaterBatch, Measured, NonfiniteOrigin
from steadygrad.diagnosis.evidence.nonfinite_origin import mended, said
from steadygrad.finding import Finding, Level
from steadygrad.measurement import FirstNonfinite

_FIX = (
    "Take logarithms in one step with what they are taken of, as `log_softmax` and losses with logits do, and keep "
    "roots and quotients away from zero."
)

_FIX_WEIGHTS = (
    "Draw these weights anew, or load a checkpoint from before they broke: what divided by zero as they were drawn, or "
    "a training step on a gradient that was not finite, would break them again."
)


def check(measured: Measured, origin: NonfiniteOrigin, later: LaterBatch) -> Iterator[Finding]:
    """Name the first output that is not finite, or the loss; of a later batch where the first is well."""
    first = measured.observation.first_nonfinite
    if later.forward is not None:
        yield _of_later(later)
    if first is None or first.direction == "backward":
        return
    bad = [layer for layer in measured.observation.profile if not math.isfinite(layer.q)]
    harmless = math.isfinite(measured.observation.profile.loss)
    yield Finding(
        code="FWD006",
        name="non-finite-activation",
        level=Level.WARN if harmless else Level.ERROR,
        message=_where(measured, first)
        + said(origin.forward)
        + (" The loss is finite all the same." if harmless else ""),
        module=first.path or None,
        measured=float(max(len(bad), 1)),
        expected=0.0,
        count=len(measured.rows) + 1,
        fix=_FIX_WEIGHTS if _broken(measured, first.path) else mended(origin.forward, _FIX),
        line=str(origin.forward[0].line) if origin.forward and origin.forward[0].line else None,
    )


def _of_later(later: LaterBatch) -> Finding:
    assert later.forward is not None
    operation = later.forward[0]
    return Finding(
        code="FWD006",
        name="non-finite-activation",
        level=Level.ERROR,
        message=f"The forward pass of batch {later.index} makes NaN or infinity at the weights as they are, though the "
        f"batch is finite, and those before it are well.{said(later.forward)}",
        module=operation.path if operation.phase == "model" else None,
        measured=1.0,
        expected=0.0,
        count=later.batches,
        fix=mended(later.forward, _FIX),
        line=str(operation.line) if operation.line else None,
    )


def _where(measured: Measured, first: FirstNonfinite) -> str:
    if first.direction == "loss":
        return f"The loss is {measured.observation.profile.loss}, though the model's outputs are all finite."
    name = f"{first.path!r} ({first.kind})" if first.path else f"the model ({first.kind})"
    if _broken(measured, first.path):
        return f"In the forward pass {name} is the first whose output is NaN or infinite: so are some of its weights."
    return f"In the forward pass {name} is the first whose output is NaN or infinite, though the batch is finite."


def _broken(measured: Measured, path: str) -> bool:
    modules = [call.module for layer, call in measured.rows if layer.path == path]
    return any(not bool(torch.isfinite(p).all()) for module in modules for p in module.parameters())
