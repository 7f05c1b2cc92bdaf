"""The loss has no lower bound where training takes the outputs.

A loss is to be least where predictions are right. One that loses a sign, that takes a distance off without a margin, or
that rewards what a model can always have more of, falls for as long as the outputs grow: what was to be learned comes
off worse and worse, as the loss looks better and better. Where the mean square of the outputs grows by more than e^6 in
a trial, the factor over which networks were seen to train, the rule makes those at its end twice as large again and
again, and looks what the loss does at the end of that. It speaks where it falls with their square, since then the
gradient grows with the outputs and the outputs with it; and where it falls in proportion to them, and of each example
on its own. A likelihood with a deviation that is learned falls with the logarithm at most, and is left in peace, as is
a loss that does not heed the targets, of two networks against each other, or that only some examples pull down in
proportion, as those of a policy that did worse than others.

What to do: look at the sign of each term; give what is taken off a margin or a bound.

Bad:

```python
import torch
from torch import nn


def likelihood(outputs, y):
    mean, log_variance = outputs.chunk(2, 1)
    return ((y - mean) ** 2 / log_variance.exp() - log_variance).mean()      # its log_variance is to be added


torch.manual_seed(0)
x = torch.randn(512, 6)
data = list(zip(x.split(32), x[:, :1].sin().split(32)))
model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
setup = {"model": model, "data": data, "loss_fn": likelihood, "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn


def likelihood(outputs, y):
    mean, log_variance = outputs.chunk(2, 1)
    return ((y - mean) ** 2 / log_variance.exp() + log_variance).mean()


torch.manual_seed(0)
x = torch.randn(512, 6)
data = list(zip(x.split(32), x[:, :1].sin().split(32)))
model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
setup = {"model": model, "data": data, "loss_fn": likelihood, "optimizer": optimizer}
```

When to ignore: the loss is only there for its gradient, as that of a policy at the data of the moment.

Reference: Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping", section 2.1 (why
a contrastive loss needs a margin); Rockafellar 1970, "Convex Analysis", section 8 (directions of recession).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import OUT_OF_SCALE, Unbounded
from steadygrad.diagnosis.evidence.unbounded import falls_for_ever
from steadygrad.finding import Finding, Level


def check(unbounded: Unbounded) -> Iterator[Finding]:
    """Speak where the trial lowered the loss on a way that has no end."""
    losses = unbounded.losses
    if not (falls_for_ever(losses) and losses[0] < unbounded.began and unbounded.grown > OUT_OF_SCALE):
        return
    every = unbounded.examples > 0 and unbounded.of_each == unbounded.examples
    if not (every or unbounded.by_square):
        return
    last = len(losses) - 1
    yield Finding(
        code="LOS009",
        name="unbounded-loss",
        level=Level.WARN,
        message=f"The loss has no lower bound: from {unbounded.began:.3g} at the start a trial takes it to "
        f"{losses[0]:.3g}, and at outputs twice, four and {2**last} times as large it is {losses[1]:.3g}, "
        f"{losses[2]:.3g} and {losses[last]:.3g}. It rewards large outputs, whose mean square has grown "
        f"{unbounded.grown:.2g} times.",
        measured=losses[last],
        expected=unbounded.began,
        count=unbounded.examples or 1,
        fix="Look at the sign of each term of the loss; give what is taken off a margin or a bound.",
    )
