"""Layers hold bitwise the same random weights, as copies of one that were made after it was drawn.

`copy.deepcopy` of a layer copies its weights, and so does a seed that is set anew before each one is built. Side by
side, with the same input and outputs that are added or averaged, such copies get the same gradient and stay equal for
ever: sixteen branches are one. In series they separate at once, since their inputs differ; they only begin as one
layer applied again and again, which is worth knowing and fails no check. The rule looks for weights that are equal bit
for bit at parameters with memory of their own, and at whether they are still equal after three small steps along the
gradient, taken and undone. Weights that are shared on purpose have one memory and are not meant, nor are constants,
identities and copies that are not trained.

What to do: build each layer by calling its class anew, or draw the weights of the copies again.

Bad:

```python
import copy
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
branch = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
model = Mean([copy.deepcopy(branch) for _ in range(4)])
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = Mean([nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)) for _ in range(4)])
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the copies are meant to start as one, as when a trained branch is doubled.

Reference: PyTorch issues 86274 and 120396 (the layers of TransformerEncoder start identical).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from steadygrad.diagnosis.evidence import Stepped
from steadygrad.diagnosis.paths import listed
from steadygrad.diagnosis.redraw import redraw
from steadygrad.fans import weight_fans
from steadygrad.finding import Finding, Level

_ROUNDING = (
    1e-4  # of a weight's size: equal gradients by other paths of summation; a step moves it a hundred times so far
)


def check(stepped: Stepped) -> Iterator[Finding]:
    """One finding for copies that stay equal, and one for those that separate."""
    groups = _copies(stepped)
    staying = [group for group in groups if _stay_equal(stepped, group)]
    separating = [group for group in groups if group not in staying]
    if staying:
        yield _finding(stepped.model, staying, stay=True)
    if separating:
        yield _finding(stepped.model, separating, stay=False)


def _copies(stepped: Stepped) -> list[list[str]]:
    """Names of trained weights that are equal, in groups of two and more."""
    groups: dict[tuple[object, ...], dict[int, str]] = {}
    for path, module in stepped.weighted():
        for name in weight_fans(module):
            full = f"{path}.{name}" if path else name
            weight = getattr(module, name)
            if stepped.steps.reached.get(full, False) and _is_random(weight.detach()):
                groups.setdefault(_key(weight), {})[weight.data_ptr()] = full
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _is_random(weight: torch.Tensor) -> bool:
    """Many distinct values: neither a constant nor an identity nor a kernel of a few taps."""
    w = torch.view_as_real(weight) if weight.is_complex() else weight
    return len(w.unique()) > min(weight.numel() - 1, max(2.0, math.sqrt(weight.numel())))


def _key(weight: torch.Tensor) -> tuple[object, ...]:
    w = weight.detach().cpu().contiguous()
    return (tuple(w.shape), w.dtype, hash(w.view(torch.uint8).numpy().tobytes()) if w.numel() else 0)


def _stay_equal(stepped: Stepped, group: list[str]) -> bool:
    after = [stepped.steps.after[name].double() for name in group]
    size = float(after[0].abs().max())
    return all(float((x - after[0]).abs().max()) <= _ROUNDING * size for x in after)


def _finding(model: nn.Module, groups: list[list[str]], *, stay: bool) -> Finding:
    largest = max(groups, key=len)
    paths = [name.rpartition(".")[0] for name in largest]
    more = f", and {len(groups) - 1} more such groups" if len(groups) > 1 else ""
    fate = "get the same gradients: they stay one layer for ever" if stay else "separate as they train"
    return Finding(
        code="INI003",
        name="identical-layers",
        level=Level.ERROR if stay else Level.INFO,
        message=f"{listed(paths)} start with bitwise the same weights{more}, and {fate}.",
        module=paths[1],
        measured=float(len(largest)),
        expected=1.0,
        count=sum(map(len, groups)),
        fix="Build each layer by calling its class anew, or draw the weights of the copies again.",
        fix_code=redraw(model, dict.fromkeys(n.rpartition(".")[0] for group in groups for n in group[1:])),
    )
