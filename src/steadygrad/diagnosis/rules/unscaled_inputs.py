"""The features' scale makes the first layer's loss surface so narrow that no learning rate fits it.

The curvature along the first layer's weights is E[x x^T], times what the rest of the network makes of it. Its largest
eigenvalue bounds the learning rate; along a feature of unit variance, learning then takes as many steps as the two
differ by. Standardised features, however correlated, have eigenvalues of at most their number D, their trace. Descent
that is slower than that by e^6 needs six time constants for the first step of a standardised one, and the networks of
Schoenholz et al. learn over no more than six. So the rule looks where the eigenvalue is beyond e^6 D. It then tries 40
steps on a copy of model and optimizer, with the data as they are and standardised: `error` where the data as they are
end in NaN or at e^2 times the loss of a constant guess, `warn` where they only stay worse than that guess while the
standardised ones beat it or where there is no optimizer to try, `info` where the optimizer copes. It is `warn`, too,
where three steps of plain descent raise the loss of their own batch, at a rate that is beyond 2(1 + momentum) over the
sharpness and would be below it if the eigenvalue were D: then the inputs put the rate there. Inputs whose squares
sum to less than e^-6 are looked at in the same way: a bias, whose input is 1, learns that many times faster than all
of them. What enters the first layer counts, so nothing is said of token numbers, of a model that divides by 255
itself, or of one that begins with a norm; pixels between 0 and 1 are in scale.

What to do: standardise each feature with the mean and deviation of the training data, and keep both for use later.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(256, 6) * torch.tensor([0.01, 1.0, 30.0, 2000.0, 0.5, 10.0]) + 5
targets = (inputs[:, 1] > 5).long()
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
inputs = torch.randn(256, 6) * torch.tensor([0.01, 1.0, 30.0, 2000.0, 0.5, 10.0]) + 5
targets = (inputs[:, 1] > 5).long()
inputs = (inputs - inputs.mean(0)) / inputs.std(0)
data = list(zip(inputs.split(32), targets.split(32)))
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: the first layer's weights were made for this scale.

Reference: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", sections 4.3 and 5 (inputs and the eigenvalues of the
Hessian); Schoenholz et al. 2017, section 5 (six constants).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import OUT_OF_SCALE, InputScale
from steadygrad.diagnosis.tried import level_of_comparison, words_of_comparison
from steadygrad.finding import Finding, Level


def check(scale: InputScale) -> Iterator[Finding]:
    """Speak where the eigenvalue is out of scale, as loudly as the steps on a copy say."""
    if not (scale.is_large or scale.is_small):
        return
    each = scale.apart > math.sqrt(OUT_OF_SCALE)
    level = level_of_comparison(scale.comparison, Level.WARN)
    yield Finding(
        code="DAT001",
        name="unscaled-inputs",
        level=Level.WARN if level == Level.INFO and scale.drives_steps_up else level,
        message=f"The inputs are out of scale: {_how(scale)}"
        + (f"; features differ in size by {scale.apart:.2g}" if each else "")
        + f"{words_of_comparison(scale.comparison, 'standardised')}.",
        module=scale.path,
        measured=scale.largest if scale.is_large else scale.total,
        expected=scale.bound,
        standard_error=(scale.largest if scale.is_large else scale.total) * math.sqrt(2 / max(scale.count - 1, 1)),
        count=scale.count,
        fix="Standardise the inputs with the mean and the deviation of the training data"
        + (", each feature by its own." if each else "."),
        fix_code=_of_each(scale.axis) + "inputs = (inputs - mean) / torch.where(deviation > 0, deviation, 1.0)"
        if each
        else "inputs = (inputs - inputs.mean()) / inputs.std()",
    )


def _of_each(axis: int) -> str:
    if axis == -1:
        return "mean, deviation = inputs.mean(0), inputs.std(0)\n"
    axes = (0, *range(2, 1 - axis))
    return f"mean, deviation = inputs.mean({axes}, keepdim=True), inputs.std({axes}, keepdim=True)\n"


def _how(scale: InputScale) -> str:
    if scale.is_small:
        return (
            f"their squares sum to {scale.total:.2g}, beside 1 for a bias and {scale.bound:.0f} for standardised ones"
        )
    return (
        f"the largest eigenvalue of their second moments is {scale.largest:.2g}, where standardised ones reach "
        f"{scale.bound:.0f} at most"
    )
