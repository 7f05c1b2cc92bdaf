"""The optimizer makes predictions worse: it climbs the loss, or the loss falls as predictions get worse.

`maximize=True` turns every step around. A loss with the wrong sign does the same, as the logarithm of a probability
that is not negated. Both together are right: a reward is climbed. The rule builds predictions out of the targets, and
predictions out of other examples' targets, and asks the loss for both. Where right ones cost less, the loss is to be
descended; where they cost more, climbed. Where a head gives several numbers for one of a target, as the mean and the
deviation of a density, all of them say it; then the loss has to fall on and on, either way from the target, to be one
of the wrong sign. Of a loss that holds two outputs of one form against each other, as of two views of an example, the
rule asks what it costs where both say the same of each example, and where they say it of others. Where the two cannot
be told apart nothing is said of the loss, and an optimizer that climbs is only worth knowing. Of an optimizer that is
not torch's own, a rate below zero or gradients that hooks have a hand in, it tries a first step: a batch's loss should
fall a little along it and rise against it.

What to do: leave `maximize` out, step against the gradient, or turn the sign of the loss around.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: the worse prediction is the aim, as for an adversary.

Reference: Cauchy 1847 (the method of steepest descent); PyTorch documentation, `maximize` of torch.optim.SGD.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import LossDirection, StepDirection
from steadygrad.finding import Finding, Level


def check(direction: LossDirection, step: StepDirection) -> Iterator[Finding]:
    """Compare where the optimizer goes with where the loss gets better."""
    flagged = direction.maximize > 0
    climbs = flagged if step.climbs is None else step.climbs
    how = "`maximize` is set" if flagged else f"{step.ahead:.4g} a little along its step, {step.behind:.4g} against it"
    if direction.rises is None:
        if climbs:
            yield _finding(direction, Level.INFO, f"The optimizer climbs the loss: {how}.", climbs=climbs)
        return
    if climbs == direction.rises:
        return
    said = f"{direction.right:.3g} for predictions made of the targets, {direction.wrong:.3g} for those of others"
    if climbs:
        seen = "" if flagged else f" ({how})"
        message = f"The optimizer climbs{seen} a loss that is to be descended: it is {said}."
    else:
        message = f"The optimizer descends a loss that rewards wrong predictions: {said}."
    yield _finding(direction, Level.ERROR, message, climbs=climbs)


def _finding(direction: LossDirection, level: Level, message: str, *, climbs: bool) -> Finding:
    flagged = direction.maximize > 0
    turned = (
        "Leave `maximize` out." if flagged else "Step against the gradient: look for its sign in the step and in hooks."
    )
    return Finding(
        code="OPT006",
        name="gradient-ascent",
        level=level,
        message=message,
        measured=direction.right if direction.right is not None else float(direction.maximize),
        expected=direction.wrong if direction.wrong is not None else 0.0,
        count=direction.groups,
        fix=turned if climbs else "Turn the sign of the loss around.",
        fix_code='for group in optimizer.param_groups:\n    group["maximize"] = False' if climbs and flagged else "",
    )
