"""Features that never change outweigh all the others: together they are one overwhelming bias.

A constant feature c adds c w to each unit, as a bias does, with a gradient c times that of a bias: the sum of c² is by
how much steps along that bias are longer. A bias input is 1, and D standardised features sum to D; the rule looks
where the constants sum to more than the layer's D features could bring. Of what a convolution is given, a channel is a
feature. The rule then tries 40 steps on a copy of model and optimizer with and without them: `error` where training
with them ends in NaN or at e^2 times the loss of a constant guess, `warn` where it stays worse than that guess while it
beats it without them, `info` otherwise. Columns of zeros, as the margins of images have, do nothing. Where all examples
are one and the same, nothing in them can be learned: `error`, whatever their scale.

What to do: leave the columns out; where all examples are alike, look at how the data set finds one by its index.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
targets = (inputs[:, 0] > 0).long()
inputs = torch.cat([inputs, torch.full((256, 2), 80.0)], dim=1)
data = list(zip(inputs.split(32), targets.split(32)))
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 4)
targets = (inputs[:, 0] > 0).long()
data = list(zip(inputs.split(32), targets.split(32)))
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: the column will change in data that are yet to come.

Reference: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.3 (the mean of an input shifts all
weights of a unit together).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import ConstantInputs
from steadygrad.diagnosis.tried import level_of_comparison, words_of_comparison
from steadygrad.finding import Finding, Level

_MOST_COLUMNS = 8
_BY_CHANNEL = ".flatten(2).any(2)"


def check(constants: ConstantInputs) -> Iterator[Finding]:
    """Speak where the examples are all the same, or the constants outweigh the features."""
    if constants.alike:
        yield _alike(constants)
        return
    if not constants.columns or constants.square <= constants.bound:
        return
    columns = ", ".join(map(str, constants.columns[:_MOST_COLUMNS]))
    more = ", ..." if len(constants.columns) > _MOST_COLUMNS else ""
    one = len(constants.columns) == 1
    yield Finding(
        code="DAT004",
        name="constant-features",
        level=level_of_comparison(constants.comparison),
        message=f"{'Feature' if one else 'Features'} {columns}{more} never {'changes' if one else 'change'} and "
        f"{'acts' if one else 'act'} as a bias with {constants.square:.2g} times its step, where all "
        f"{constants.bound:.0f} features, standardised, would sum to {constants.bound:.0f}"
        f"{words_of_comparison(constants.comparison, 'without them')}.",
        module=constants.path,
        measured=constants.square,
        expected=0.0,
        count=constants.count,
        fix="Leave the constant columns out of the inputs.",
        fix_code=f"changes = (inputs != inputs[:1]){_BY_CHANNEL if constants.axis < -1 else ''}.any(0)\n"
        "inputs = inputs[:, changes]",
    )


def _alike(constants: ConstantInputs) -> Finding:
    return Finding(
        code="DAT004",
        name="constant-features",
        level=Level.ERROR,
        message="All examples that were looked at are one and the same: nothing in the inputs tells them apart, so no "
        "model does better than a constant.",
        module=constants.path,
        measured=1.0,
        expected=float(constants.count),
        count=constants.count,
        fix="Look at how the data set finds an example by its index.",
    )
