"""Residual branches add to their stream at full size, so its second moment grows as a power of the depth.

A block makes x + f(x). Where f keeps the second moment of what it is given, and nothing normalizes its input, each
block doubles the stream or more: after fifty blocks it is 2^50 times as large, and the gradient on its way back grows
alike. A norm at the entrance of each branch makes the growth linear, and a branch that is scaled by 1/sqrt(number of
blocks), or that begins at zero, keeps it bounded. The rule follows each chain of sums whose one operand was made of
the other, and speaks where the second moment at its last sum is above e^12 times that at its first: twice the six
depth scales over which networks were seen to train. It speaks of less where the first loss is far off (LOS004) and
would not be with outputs as much smaller as the proposed scale makes the stream.

What to do: scale each branch, or its last weights, by 1/sqrt(number of blocks), and less where a block does more than
double its stream; begin its last layer at zero; or put a norm at its entrance.

Bad:

```python
import torch
from torch import nn


class Blocks(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(24))
        self.head, self.scale = nn.Linear(32, 10), scale
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x):
        for block in self.blocks:
            x = x + self.scale * block(x)
        return self.head(x)


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
setup = {"model": Blocks(1.0), "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class Blocks(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(24))
        self.head, self.scale = nn.Linear(32, 10), scale
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x):
        for block in self.blocks:
            x = x + self.scale * block(x)
        return self.head(x)


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
setup = {"model": Blocks(24**-0.5), "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: a norm before the head and a rate for each block make up for it.

Reference: Zhang et al. 2019 (Fixup), section 2; Hayou et al. 2021 (stable ResNet), section 3; De and Smith 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import takewhile

from steadygrad.diagnosis.evidence import LoudStarts, ResidualStreams
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, log_ratio, written
from steadygrad.finding import Finding
from steadygrad.measurement import Operation

# Logarithm of what the proposed scale leaves of the growth.
_LEFT = 1.0


def check(residual: ResidualStreams, starts: LoudStarts) -> Iterator[Finding]:
    """Compare the last sum of each stream with its first; the one that grows most is told."""
    streams = [_numbers(stream) for stream in residual.streams]
    grown = [(log_ratio(s[-1].q, s[0].q), s) for s in streams if len(s) > 1]
    logarithm, stream = max((found for found in grown if found[0] > 0), key=lambda found: found[0], default=(0.0, ()))
    if logarithm > LOST or (logarithm > _LEFT and starts.is_made_by(logarithm - _LEFT)):
        yield _finding(logarithm, stream)


def _numbers(stream: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The sums up to the first that is no number: a branch that overflows may subtract infinities."""
    return tuple(takewhile(lambda made: not math.isnan(made.q), stream))


def _finding(logarithm: float, stream: tuple[Operation, ...]) -> Finding:
    blocks, last = len(stream), stream[-1]
    each = written(logarithm / (blocks - 1)) if math.isfinite(logarithm) else "too much"
    scale = _scale(logarithm, blocks)
    return Finding(
        code="INI005",
        name="unscaled-residual-branch",
        level=level_of(logarithm),
        message=f"Each of {blocks} residual sums multiplies the second moment of its stream by {each} or so, by "
        f"{written(logarithm)} from the first to the last: the branches add at full size, without a norm before them.",
        module=last.path,
        measured=last.q,
        expected=stream[0].q * math.exp(LOST),
        count=blocks,
        fix=f"Scale each branch by {scale:.2g}, which leaves a factor of e over all of them, begin its last layer at "
        "zero, or put a norm at its entrance.",
        line=str(last.line) if last.line else None,
    )


def _scale(logarithm: float, blocks: int) -> float:
    """Return s with (1 + s² (r - 1))^blocks <= e, where each block multiplies by r: 1/sqrt(blocks) where r is 2."""
    each = math.expm1(logarithm / (blocks - 1)) if math.isfinite(logarithm) else 1.0
    return 1 / math.sqrt(blocks * each)
