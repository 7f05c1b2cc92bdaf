"""A regression's targets are on another scale than what the head can give.

A head of unit gain starts with outputs of unit size. Targets e^3 times larger make the gradient that many times
larger, and through the layers' product the curvature too: steps of the usual size run away, or, with Adam, whose steps
have a length of their own, take thousands to get there. Targets that vary e^3 times less than the outputs drown in
what the head gives anyway. (e^3 in size is e^6 in the loss: six time constants only to arrive.) Medians are compared,
so that a few wild targets, which are another defect, do not count; targets are too small where nine in ten are. As for
unscaled inputs, 40 steps on a copy tell whether it matters: `error` where the targets as they are end in NaN or at e^2
times the loss of a constant guess, `warn` where they stay worse than that guess while standardised ones beat it or
where there is no optimizer to try, `info` otherwise.

What to do: standardise the targets with the mean and deviation of the training data, and undo it on predictions.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
targets = 40_000 + 8_000 * inputs[:, :1] + 2_000 * inputs[:, 1:2] ** 2
data = list(zip(inputs.split(32), targets.split(32)))
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
targets = 40_000 + 8_000 * inputs[:, :1] + 2_000 * inputs[:, 1:2] ** 2
targets = (targets - targets.mean()) / targets.std()
data = list(zip(inputs.split(32), targets.split(32)))
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}
```

When to ignore: training is long enough for the outputs to get there.

Reference: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.5 (target values); Schoenholz et al. 2017,
section 5 (six constants).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import TargetScale
from steadygrad.diagnosis.tried import level_of_comparison, words_of_comparison
from steadygrad.finding import Finding, Level


def check(scale: TargetScale) -> Iterator[Finding]:
    """Speak where targets are out of scale, as loudly as the steps on a copy say."""
    if not scale.is_out:
        return
    size, what = (scale.typical, "are typically") if scale.typical > 1 else (scale.spread, "vary by only")
    yield Finding(
        code="DAT002",
        name="unscaled-targets",
        level=level_of_comparison(scale.comparison, Level.WARN),
        message=f"The targets are out of scale: they {what} {size:.2g}{' away' * (scale.typical > 1)}, where the "
        f"outputs start with a size of {scale.outputs:.2g}"
        f"{words_of_comparison(scale.comparison, 'with standardised targets')}.",
        measured=size,
        expected=max(scale.outputs, 1.0),
        # Of a median of nearly Gaussian numbers: 1.2533 standard deviations over the root of the count.
        standard_error=1.2533 * 1.4826 * scale.spread / math.sqrt(max(scale.count, 1)),
        count=scale.count,
        fix="Standardise the targets with the mean and the deviation of the training data, and undo it on predictions.",
        fix_code="mean, deviation = targets.mean(0), targets.std(0)\ntargets = (targets - mean) / deviation",
    )
