"""Layers follow each other with nothing between them that is not linear, so together they are one linear layer.

The rule tries it: f(x + y) - f(x) - f(y) + f(0), where f runs from the input (or from an embedding's output) to the
last layer with a weight in evaluation mode, is zero for an affine f and for no other. Two or more layers that sum whose
product is affine fit no more than one of them could. A layer in between that is narrower than both ends is left
alone: such a product is a factorisation of low rank, and meant. A gain that is zero or small may hide a bend, so
the map has to stay affine with other numbers in the place of gains, slopes, biases and whatever is all zero.

What to do: put an activation after each layer but the last, and check that `forward` calls it.

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

from steadygrad.diagnosis.evidence import Affinity
from steadygrad.finding import Finding, Level


def check(affinity: Affinity) -> Iterator[Finding]:
    """One finding for a model that is affine up to its last layer."""
    if len(affinity.layers) < 2 or not affinity.is_affine or affinity.waits or _is_factorised(affinity.widths):
        return
    yield Finding(
        code="NET001",
        name="missing-nonlinearity",
        level=Level.WARN,
        message=f"Nothing between the {len(affinity.layers)} layers {affinity.layers[0]!r} to {affinity.layers[-1]!r} "
        "bends the signal: together they are one linear layer, f(x + y) - f(x) - f(y) + f(0) being zero to rounding.",
        module=affinity.layers[0],
        measured=affinity.deviation,
        expected=1.0,
        standard_error=affinity.rounding,
        count=affinity.count,
        fix="Put an activation, as nn.ReLU(), after each layer but the last, and call it in `forward`.",
    )


def _is_factorised(widths: tuple[int, ...]) -> bool:
    """Whether a layer in between is narrower than both ends."""
    return min(widths[1:-1], default=0) < min(widths[0], widths[-1])
