"""Layers follow each other with nothing between them that is not linear, so together they are one linear layer.

The rule tries it: f(x + y) - f(x) - f(y) + f(0), where f runs from the input (or from an embedding's output) to the
last layer with a weight in evaluation mode, is zero for an affine f and for no other. Two or more layers that sum whose
product is affine fit no more than one of them could. A layer in between that is narrower than both ends is left
alone: such a product is a factorisation of low rank, and meant. A gain that is zero or small may hide a bend, so
the map has to stay affine with other numbers in the place of gains, slopes, biases and whatever is all zero. Where the
best linear fit leaves less than a tenth of the targets' variance on other examples, there is little that a bend could
add (`info`).

A network of ReLUs is linear between its kinks: where a model or a loss takes the derivative of a derivative, as a
differential equation asks for, that is zero everywhere, and no weight can change it. The rule watches the calls of
`torch.autograd.grad` and speaks where one of what another gave is zero in every entry, though that was not.

What to do: put an activation after each layer but the last, and check that `forward` calls it; for second derivatives
one that bends, such as tanh, sin or SiLU.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the dynamics of deep linear networks are what you study.

Reference: Saxe, McClelland, Ganguli 2014, section 1 (the map of a deep linear network is one matrix); Minsky and
Papert 1969 (what a linear one cannot tell apart).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Affinity, SecondDerivatives
from steadygrad.diagnosis.runs.remedy import PART
from steadygrad.finding import Finding, Level


def check(affinity: Affinity, derivatives: SecondDerivatives) -> Iterator[Finding]:
    """One finding for a model that is affine up to its last layer, or for second derivatives that are nothing."""
    if derivatives.zero:
        yield _flat(derivatives)
        return
    if len(affinity.layers) < 2 or not affinity.is_affine or affinity.waits or _is_factorised(affinity.widths):
        return
    suffices = affinity.unexplained < PART
    line = f"; the best linear fit leaves {affinity.unexplained:.1%} of the targets' variance" if suffices else ""
    yield Finding(
        code="NET001",
        name="missing-nonlinearity",
        level=Level.INFO if suffices else Level.WARN,
        message=f"Nothing between the {len(affinity.layers)} layers {affinity.layers[0]!r} to {affinity.layers[-1]!r} "
        "bends the signal: together they are one linear layer, f(x + y) - f(x) - f(y) + f(0) being zero to rounding"
        f"{line}.",
        module=affinity.layers[0],
        measured=affinity.deviation,
        expected=1.0,
        standard_error=affinity.rounding,
        count=affinity.count,
        fix="Put an activation, as nn.ReLU(), after each layer but the last, and call it in `forward`.",
    )


def _flat(derivatives: SecondDerivatives) -> Finding:
    line = derivatives.zero[0]
    at = f" at {line}" if line else ""
    return Finding(
        code="NET001",
        name="missing-nonlinearity",
        level=Level.WARN,
        message=f"The derivative of a derivative that is taken{at} is zero in every entry: between its kinks the model "
        "is linear, and no weight can bend it.",
        measured=float(len(derivatives.zero)),
        expected=0.0,
        count=derivatives.taken,
        fix="Take an activation with a second derivative, such as nn.Tanh() or nn.SiLU(), in place of a ReLU.",
        line=str(line) if line else None,
    )


def _is_factorised(widths: tuple[int, ...]) -> bool:
    """Whether a layer in between is narrower than both ends."""
    return min(widths[1:-1], default=0) < min(widths[0], widths[-1])
