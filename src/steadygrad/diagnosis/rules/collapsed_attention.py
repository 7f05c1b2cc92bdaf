"""Attention chooses one key for most queries, so its softmax has no slope left.

Scores of a deviation s among n keys give a softmax whose largest probability nears one as s grows: products of d
entries have s = sqrt(d) unless they are divided by it, and weights that are too large multiply s by their square. The
slope of a row p is 1 - sum p², at most 1 - 1/n for a uniform row. A row has collapsed where at most e^-3 of that is
left, so that its square is below e^-6, which six depth scales leave of a gradient: one key holds 97.5% or more. The
rule looks at each softmax whose result multiplies a tensor, and at each attention kernel, whose scores it forms
again; rows that a mask leaves one key do not count. It speaks where more than half of the rows have collapsed.

What to do: divide the scores by sqrt(head size); draw query and key weights at Xavier's scale; normalize queries and
keys.

Bad:

```python
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
        self.head, self.scale = nn.Linear(64, 10), scale

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(1, 2) * self.scale
        return self.head((scores.softmax(-1) @ self.v(x)).mean(1))


torch.manual_seed(0)
data = [(torch.randn(32, 12, 64), torch.randint(10, (32,)))]
model = Attention(scale=12.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
        self.head, self.scale = nn.Linear(64, 10), scale

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(1, 2) * self.scale
        return self.head((scores.softmax(-1) @ self.v(x)).mean(1))


torch.manual_seed(0)
data = [(torch.randn(32, 12, 64), torch.randint(10, (32,)))]
model = Attention(scale=64**-0.5)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the model is trained, and its heads look at one position each.

Reference: Vaswani et al. 2017, section 3.2.1; Zhai et al. 2023 (attention entropy collapse), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Flow
from steadygrad.finding import Finding, Level
from steadygrad.measurement import Operation

_HALF = 0.5


def check(flow: Flow) -> Iterator[Finding]:
    """One finding, at the attention with the largest share of collapsed rows."""
    found = [
        stage.operation for i, stage in enumerate(flow.stages) if stage.operation.attention and _multiplies(flow, i)
    ]
    collapsed = [o for o in found if o.attention and o.attention.collapsed > _HALF]
    if collapsed:
        worst = max(collapsed, key=lambda o: o.attention.collapsed if o.attention else 0.0)
        yield _finding(worst, len(collapsed), len(found))


def _multiplies(flow: Flow, i: int) -> bool:
    """Whether the rows weigh other tensors: a kernel does so itself."""
    if flow.stages[i].operation.name != "_softmax":
        return True
    return any(flow.stages[j].operation.name in ("bmm", "mm", "baddbmm") for j in flow.takers(i))


def _finding(worst: Operation, layers: int, of: int) -> Finding:
    seen = worst.attention
    assert seen is not None, "it was chosen for its rows"
    where = repr(worst.path) if worst.path else "the model"
    return Finding(
        code="FWD007",
        name="collapsed-attention",
        level=Level.WARN,
        message=f"{100 * seen.collapsed:.3g}% of the rows of attention in {where} ({layers} of {of} such) give one key "
        f"all the weight: scores deviate by {seen.deviation:.3g} among {seen.keys:.3g} keys, the entropy is "
        f"{seen.entropy:.2g} of {math.log(seen.keys):.2g}.",
        module=worst.path,
        measured=seen.collapsed,
        expected=_HALF,
        standard_error=math.sqrt(seen.collapsed * (1 - seen.collapsed) / seen.rows),
        count=seen.rows,
        fix="Divide the scores by sqrt(head size), draw query and key weights at Xavier's scale, or normalize queries "
        "and keys.",
        line=str(worst.line) if worst.line else None,
    )
