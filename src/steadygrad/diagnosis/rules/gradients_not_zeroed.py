"""Gradients of the step before stand when the next backward pass adds to them.

A backward pass adds to `.grad`. Where nothing zeroes it, each step goes along the sum of all gradients since the start:
plain descent becomes x[t+1] - 2 x[t] + x[t-1] = -ηλ x[t] on a slope of curvature λ, whose two roots multiply to 1, so
that no direction ever shrinks: the run swings around the minimum instead of coming to it, and momentum drives the
swings up. The rule runs the setup's own `step` a few times on a snapshot and follows each gradient. It speaks where a
step uses a gradient to which an earlier step's was still added, exactly as that step left it: a number that is not zero
is one too much, so there is no threshold. Gradients that are gathered over several backward passes before one step are
left in peace, as is what another loss left and the owner zeroes before its own. A setup without a `step` is trained by
the plain loop, zero_grad, backward, step: there the rule looks at what the `zero_grad` of an optimizer of the user's
own class leaves, exactly as a step that moved the weights had used it. It is an error where it concerns more
than half of the numbers that are trained, and a warning else.

What to do: call `optimizer.zero_grad()` once for every `optimizer.step()`, before the backward pass or after the step.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,))) for _ in range(4)]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, inputs, targets, loss_fn, optimizer):
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


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
    loss_fn(model(inputs), targets).backward()
    optimizer.step()
    optimizer.zero_grad()


setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, "step": step}
```

When to ignore: the sum over all steps is meant, as in dual averaging.

Reference: PyTorch documentation, torch.optim: taking an optimization step; Polyak 1964, section 2 (the method with a
memory of steps, whose damping is missing here).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import OwnOptimizer, OwnStep
from steadygrad.finding import Finding, Level

# Where most of what is trained swings, so does the run.
_HALF = 0.5


def check(own: OwnStep, optimizer: OwnOptimizer) -> Iterator[Finding]:
    """Look for steps with what an earlier step had used."""
    log = own.log
    if log is not None and log.stale_steps:
        yield _finding(
            "`step` never zeroes",
            share=log.stale_numbers / log.stepped_numbers,
            norm=log.stale_norm,
            steps=log.steps,
            fix="Call `optimizer.zero_grad()` in each step, before the backward pass or after `optimizer.step()`.",
        )
    elif optimizer.standing:
        yield _finding(
            "`optimizer.zero_grad()` does not zero",
            share=optimizer.standing_numbers / optimizer.numbers,
            norm=optimizer.standing,
            steps=optimizer.steps,
            fix="Have `zero_grad` of the optimizer's class call that of `torch.optim.Optimizer`.",
        )


def _finding(what: str, *, share: float, norm: float, steps: int, fix: str) -> Finding:
    return Finding(
        code="OPT009",
        name="gradients-not-zeroed",
        level=Level.ERROR if share > _HALF else Level.WARN,
        message=f"{what} {'' if share == 1 else f'{100 * share:.3g}% of '}the gradients: those of earlier "
        f"steps, of norm {norm:.3g} at the second, are added to each step's own.",
        measured=norm,
        expected=0.0,
        count=steps,
        fix=fix,
    )
