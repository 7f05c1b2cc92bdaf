"""The optimizer's epsilon is larger than the gradients, so it shrinks every step.

Adam and its kin divide a gradient g by sqrt(v) + eps, where v is the running mean of g². The step is rate times
r / (r + eps) for a gradient of root mean square r: nearly the rate while eps is small, and r / eps of it beyond. Then
the optimizer is momentum descent with the rate lr / eps, and no longer makes the steps of all layers alike. The rule
measures r for every parameter and speaks where the step is shrunk by more than ten for most weights, so that eps is
more than nine times their gradients, and what is left of the rate is below 0.001, the rate that Adam was published
with: a rate that was raised to make up for a large eps is left in peace. Weights in half precision are another matter:
there 1e-8 is 0, and so is the square of a gradient below 1e-4, so that steps are quotients of zeros.

What to do: set eps well below the gradients, as 1e-8 is; where it is as small as that, look for what makes gradients
smaller, such as a gate or a softmax that is shut.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: gradients are known to grow far above eps soon.

Reference: Kingma and Ba 2015, algorithm 1; Choi et al. 2019, section 2 (epsilon turns Adam into momentum).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from steadygrad.diagnosis.evidence import Optimized, Stepped
from steadygrad.diagnosis.paths import listed
from steadygrad.finding import Finding, Level

# A tenth of the step: an order of magnitude, beyond what a search over rates passes by.
_SHRUNK = 0.1

# Kingma and Ba 2015, algorithm 1: "good default settings for the tested machine learning problems".
_PUBLISHED_RATE = 1e-3
_PUBLISHED_EPS = 1e-8

# Their steps are g / (sqrt(v) + eps), or the like with a maximum in v's place.
_DIVIDE = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "SparseAdam", "Lamb", "LAMB", "Adan"}


def check(stepped: Stepped, optimized: Optimized) -> Iterator[Finding]:
    """One finding, for the weights of the middle."""
    if not any(kind.__name__ in _DIVIDE for kind in type(optimized.optimizer).__mro__):
        return
    if lost := [name for name, group in optimized.names.items() if _rounds_to_zero(stepped, name, group)]:
        yield _nothing(stepped, optimized, lost)
    rows = [row for name, group in optimized.names.items() if (row := _row(stepped, name, group)) is not None]
    total = sum(size for *_, size in rows)
    shrunk = [row for row in rows if row[0] < _SHRUNK and row[0] * row[1] < _PUBLISHED_RATE]
    if rows and 2 * sum(size for *_, size in shrunk) > total:
        yield _finding(optimized, sorted(shrunk)[len(shrunk) // 2], total)


def _rounds_to_zero(stepped: Stepped, name: str, group: dict[str, Any]) -> bool:
    """Whether eps is added in a format that holds it as 0; AMSGrad and the like make no difference to that."""
    weights, eps = stepped.steps.after.get(name), group.get("eps", 0.0)
    return weights is not None and eps > 0 and float(torch.tensor(eps).to(weights.dtype)) == 0


def _nothing(stepped: Stepped, optimized: Optimized, lost: list[str]) -> Finding:
    weights, eps = stepped.steps.after[lost[0]], float(optimized.names[lost[0]]["eps"])
    kind = torch.finfo(weights.dtype)
    least = kind.smallest_normal * kind.eps  # below half of it all is rounded to 0
    return Finding(
        code="OPT004",
        name="optimizer-epsilon",
        level=Level.WARN,
        message=f"{type(optimized.optimizer).__name__} has eps = {eps:.3g}, which is 0 in {weights.dtype}, the format "
        f"of {listed(lost)}: where a gradient's square is 0 there too, as below {(least / 2) ** 0.5:.1g}, a step is a "
        "quotient with 0.",
        module=lost[0].rpartition(".")[0],
        measured=eps,
        expected=kind.smallest_normal,
        count=len(optimized.names),
        fix="Keep the weights in single precision and run under torch.autocast, or set eps to "
        f"{kind.smallest_normal:.1g} or more.",
    )


def _row(stepped: Stepped, name: str, group: dict[str, Any]) -> tuple[float, float, float, float, str, int] | None:
    """What is left of a step, rate, eps, root mean square of the gradient, name and entries."""
    size, eps, rate = stepped.steps.gradient.get(name, 0.0), float(group.get("eps", 0.0)), float(group.get("lr", 0.0))
    if not 0 < size < math.inf or rate <= 0:
        return None
    return size / (size + eps), rate, eps, size, name, stepped.steps.after[name].numel()


def _finding(optimized: Optimized, row: tuple[float, float, float, float, str, int], total: int) -> Finding:
    left, rate, eps, size, name, _ = row
    kind = type(optimized.optimizer).__name__
    fix, code = _mended(eps, size)
    return Finding(
        code="OPT004",
        name="optimizer-epsilon",
        level=Level.WARN,
        message=f"{kind} has eps = {eps:.3g}, and gradients are about {size:.2g} ({name!r}): steps are shrunk by "
        f"{1 / left:.3g}, from {rate:.3g} to {rate * left:.2g}.",
        module=name.rpartition(".")[0],
        measured=eps,
        expected=size * (1 / (1 - _SHRUNK) - 1),
        count=total,
        fix=fix,
        fix_code=code,
    )


def _mended(eps: float, size: float) -> tuple[str, str]:
    """What mends it, and the code: of gradients below what is usual, the eps is not to blame alone."""
    if size**2 < torch.finfo(torch.float32).smallest_normal:
        return "Look for what makes gradients so small: in single precision their squares are 0, whatever eps is.", ""
    below = min(_PUBLISHED_EPS, 10.0 ** math.floor(math.log10(size * _SHRUNK)))
    code = f'for group in optimizer.param_groups:\n    group["eps"] = {below:g}'
    if eps > _PUBLISHED_EPS:
        return f"Set eps well below the gradients, such as {below:g}.", code
    return f"Look for what makes gradients so small, or set eps well below them, such as {below:g}.", code
