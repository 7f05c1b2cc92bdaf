"""Gradients are clipped where it does nothing, or the wrong thing: after the step, or before the loss is unscaled.

Clipping stands between the backward pass and the optimizer's step. After the step it shortens what has been used and is
zeroed next: no step is ever clipped. With mixed precision the gradients carry the scale of the loss, 65536 to begin
with, until `scaler.unscale_(optimizer)` divides it out: a norm that is clipped before is that of scaled gradients, and
the scale then divides what the threshold left. The rule runs the setup's own `step` a few times on a snapshot, watches
every write to a gradient, and asks what became of it: it speaks where a clipped gradient had been used by a step and
was zeroed before another, or was divided by a scale. Where the loop is the plain one and the optimizer's class the
user's own, it looks whether its `step` clips behind the last write into a weight. All are orders of events, without a
threshold. Clipping is what torch's functions and this package's do, whether or not it bites, and by hand whatever makes
a gradient smaller by a factor that varies beyond rounding, over its entries or from call to call; a constant factor is
an average.

What to do: clip right before `optimizer.step()`, and after `scaler.unscale_(optimizer)` where the loss is scaled.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,))) for _ in range(4)]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, inputs, targets, loss_fn, optimizer):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)


setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, "step": step}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,))) for _ in range(4)]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, inputs, targets, loss_fn, optimizer):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, "step": step}
```

When to ignore: what is clipped after the step is only looked at, as for a plot; or the threshold is multiplied by the
scale too.

Reference: Pascanu et al. 2013, algorithm 1; PyTorch documentation, mixed precision examples, gradient clipping.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import OwnOptimizer, OwnStep
from steadygrad.diagnosis.paths import at_line
from steadygrad.finding import Finding, Level
from steadygrad.measurement.gradient_watch import Clipping, GradientLog
from steadygrad.tracing import SourceLine


def check(own: OwnStep, optimizer: OwnOptimizer) -> Iterator[Finding]:
    """Look at what became of each clipped gradient."""
    for clipped in optimizer.late:
        yield _finding(clipped.line, calls=optimizer.steps, count=optimizer.steps)
    if own.log is None:
        return
    for clipping in own.log.late:
        yield _finding(clipping.line, calls=clipping.calls, count=own.log.calls)
    for clipping in own.log.scaled:
        yield _scaled(clipping, own.log)


def _finding(line: SourceLine | None, *, calls: int, count: int) -> Finding:
    return Finding(
        code="OPT008",
        name="misplaced-clipping",
        level=Level.WARN,
        message=f"Gradients are clipped{at_line(line)} after the optimizer's step has used them, and zeroed "
        "before another does: no step is clipped.",
        measured=float(calls),
        expected=0.0,
        count=count,
        fix="Clip between the backward pass and `optimizer.step()`.",
        line=None if line is None else str(line),
    )


def _scaled(clipping: Clipping, log: GradientLog) -> Finding:
    limit = clipping.limit
    left = "" if limit is None else f": at most {limit / log.unscaled:.2g} of the threshold {limit:.3g} is left of them"
    return Finding(
        code="OPT008",
        name="misplaced-clipping",
        level=Level.WARN,
        message=f"Gradients are clipped{at_line(clipping.line)} while they are still multiplied by the loss's scale, "
        f"{log.unscaled:.6g}, and divided by it afterwards{left}.",
        measured=log.unscaled,
        expected=1.0,
        count=log.calls,
        fix="Call `scaler.unscale_(optimizer)` before clipping.",
        line=None if clipping.line is None else str(clipping.line),
    )
