"""The last activation keeps the outputs in a range that does not hold the targets.

A ReLU gives nothing below 0, a tanh nothing beyond 1: targets outside of the range are missed by at least their
distance to it, whatever the weights; the outputs of a softmax sum to 1, and labels that may hold together do not. The
mean of the squared distances over the variance of the targets is the share that stays unexplained, 1 - R². Where the
output sits at the end of its range the gradient vanishes, too. The operator that made the outputs is read from the
autograd graph, the targets are those of all batches that were looked at. `warn` where at least a twentieth of the
variance is out of reach beyond five standard errors, `error` from a half on; targets that lie outside by less are
`info`.

What to do: end a regression with a linear layer, or scale the targets into the range.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
data = [(inputs, inputs[:, :1] - inputs[:, 1:2])]
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
data = [(inputs, inputs[:, :1] - inputs[:, 1:2])]
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss()}
```

When to ignore: the targets outside of the range are errors that the model should not follow.

Reference: Goodfellow, Bengio, Courville 2016, "Deep Learning", section 6.2.2 (output units by the distribution of the
targets).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from steadygrad.diagnosis.evidence import REGRESSIONS, LossPair, LossRun
from steadygrad.finding import Finding, Level

# A twentieth, the share at which statistics by convention calls an effect one.
_NOTED = 0.05
_STANDARD_ERRORS = 5
# Half precision rounds to 2^-11; a sum of many rounded shares is nearer to 1 than this.
_SUMS_TO_ONE = 0.01
_IN_WORDS = {"Relu": "ReLU", "Hardtanh": "clamp", "Pow": "square", "Elu": "ELU"}


def check(run: LossRun) -> Iterator[Finding]:
    """One finding for each difference whose output is bounded and whose targets lie beyond."""
    for pair in run.named(*REGRESSIONS, "binary_cross_entropy"):
        off_one = list(_off_one(pair)) if _is_softmax(pair) else []
        yield from off_one
        if not off_one and pair.name in REGRESSIONS and (math.isfinite(pair.head.low) or math.isfinite(pair.head.high)):
            yield from _beyond(pair)


def _is_softmax(pair: LossPair) -> bool:
    return pair.head.name == "Softmax" and pair.head.factor == 1 and pair.head.classes > 1


def _beyond(pair: LossPair) -> Iterator[Finding]:
    y = torch.cat([t.detach().double().flatten() for t in pair.targets])
    low, high = pair.head.low, pair.head.high
    squares = (y - y.clamp(low, high)).square()
    missed, variance = float(squares.mean()), float(y.var(correction=0))
    outside = int((squares > 0).sum())
    if not outside or not variance or y.numel() < 2:
        return
    share, error = missed / variance, float(squares.std()) / math.sqrt(y.numel()) / variance
    made = _IN_WORDS.get(pair.head.name, pair.head.name.lower())
    yield Finding(
        code="LOS005",
        name="output-range-mismatch",
        level=_level(share, error),
        message=f"The outputs end in a {made}, between {low:g} and {high:g}, but {outside} of {y.numel()} targets lie "
        f"outside, from {float(y.min()):.3g} to {float(y.max()):.3g}: {share:.2g} of their variance is out of reach.",
        measured=share,
        expected=0.0,
        standard_error=error,
        count=y.numel(),
        fix=f"Leave out the {made} at the end of the model, or scale the targets into its range.",
    )


def _off_one(pair: LossPair) -> Iterator[Finding]:
    """The outputs of a softmax sum to 1: targets [examples, classes] that do not are out of its reach."""
    rows = [t.detach().double() for t in pair.targets if t.dim() == 2 and t.shape[1] == pair.head.classes]
    if not rows:
        return
    y = torch.cat(rows)
    squares = (y.sum(1) - 1).square() / pair.head.classes
    variance, outside = float(y.var(0, correction=0).sum()), int(((y.sum(1) - 1).abs() > _SUMS_TO_ONE).sum())
    if not outside or not variance or len(y) < 2:
        return
    share, error = float(squares.mean()) / variance, float(squares.std()) / math.sqrt(len(y)) / variance
    yield Finding(
        code="LOS005",
        name="output-range-mismatch",
        level=_level(share, error),
        message=f"The outputs end in a softmax and sum to 1, but {outside} of {len(y)} targets sum to between "
        f"{float(y.sum(1).min()):.3g} and {float(y.sum(1).max()):.3g}: {share:.2g} of their variance is out of reach.",
        measured=share,
        expected=0.0,
        standard_error=error,
        count=len(y),
        fix="Use a sigmoid for labels that may hold together, and no activation for quantities.",
    )


def _level(share: float, error: float) -> Level:
    if share < _NOTED or share <= _STANDARD_ERRORS * error:
        return Level.INFO
    return Level.ERROR if share >= 0.5 else Level.WARN
