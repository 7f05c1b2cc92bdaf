"""The first loss is far above that of a model that knows nothing.

An uninformed softmax over K classes has the loss ln K. Logits of deviation s raise it by s²/2 at first. At s = sqrt(2
ln K) the softmax freezes: one class takes all of the probability, at random, and the loss, 2 ln K there, grows as s
sqrt(2 ln K) from then on; at twice that scale it comes near to 4 ln K, from below, the nearer the more classes there
are. It begins sure and wrong, its weights multiply the gradient as they multiplied the signal, and the steps that would
suit a calm one throw it about. `warn` where the mean loss of the examples is above 4 ln K, and would be by two standard
errors if labels fell on these outputs at random; `error` beyond 8 ln K. In a regression the head's scale multiplies the
outputs on their way and the gradient on its way back alike, so of the factor e^6 in second moments over which networks
were seen to train each may use e^3: `warn` where the squared outputs are that many times the squared targets (or 1, for
smaller ones) by two standard errors, `error` beyond e^6. Forty steps on a copy of model and optimizer say whether the
start is made up for: where they end no worse than a constant guess, by two standard errors, it cost those steps and is
worth knowing (`info`), as where a temperature is meant to be low. A loss that is low is no defect: the model may have
been trained before. So was a head that is frozen for the most part, as under an adapter: what it says of other labels
is then worth knowing and no more. Outputs of which most lie at an end of their range, as behind a clamp, have no
gradient, and that is another rule's matter.

What to do: draw the last layer's weights smaller (gain 1, or zero); look at the scale of what enters it.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 10))
nn.init.normal_(model[2].weight, std=8.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 10))
nn.init.normal_(model[2].weight, std=64**-0.5)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the model was trained on other labels, and its head is about to be learned anew.

Reference: Derrida 1981, "Random-energy model", equations 4 and 5 (freezing at sqrt(2 ln K)); Karpathy 2019, "A recipe
for training neural networks" (verify the loss at initialization).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import FirstLoss, FrozenHead, LoudStart
from steadygrad.finding import Finding, Level

_MOST = 0.5
_TRAINED_BEFORE = "Nothing, where the frozen head is meant to say something else than it was trained for."
_FIX = "Draw the last layer's weights with a gain of 1 or less, biases zero, and look at the scale of its inputs."


def check(first: FirstLoss, head: FrozenHead) -> Iterator[Finding]:
    """One finding, for the first loss that is too large."""
    loud = first.loud
    if loud is None:
        return
    trained_before = head.share > _MOST
    grave = Level.ERROR if loud.is_grave else Level.WARN
    yield Finding(
        code="LOS004",
        name="initial-loss-off",
        level=Level.INFO if trained_before or first.is_made_up else grave,
        message=_says(loud) + _after_steps(first),
        measured=loud.value,
        expected=loud.calm,
        standard_error=loud.error,
        count=loud.count,
        fix=_TRAINED_BEFORE if trained_before else _FIX,
    )


def _says(start: LoudStart) -> str:
    if start.of_classes:
        return (
            f"The first loss is {start.value:.3g}, {start.value / start.calm:.2g} times that of a uniform guess, "
            f"{start.calm:.3g}: the model starts sure of wrong answers."
        )
    return (
        f"The outputs start with a mean square of {start.value:.3g}, the targets have {start.calm:.3g}: the model "
        "starts far from anything that it should say."
    )


def _after_steps(first: FirstLoss) -> str:
    if first.steps is None or not first.steps.finished:
        return ""
    return (
        f" After {len(first.steps.losses)} steps on a copy the loss is {first.steps.tail[0]:.2g} times that of a "
        "constant guess."
    )
