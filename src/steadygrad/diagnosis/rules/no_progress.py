"""A short trial ends no better than a constant output, and its loss no longer falls.

The best constant output, the same for every example, is what a model reaches that makes nothing of its inputs: the
entropy of the labels, the variance of the targets. The rule fits that constant with the setup's own loss, trains on a
snapshot, and speaks where the last fifth of the trial is not below it beyond three standard errors and a hundredth of
it, and the second half shows no fall, by the rank test of Mann and Kendall. A run that is slow and falls is left in
peace, unless what differs between examples at the last layer has fallen to less than e^-12 of what it was: then it
falls towards a constant, as under a penalty that is all that goes. A loss that falls while a recurrent layer does not
reach the steps that the targets ask for is that of examples learned by heart, and no progress either. Where the data
come again, and the second half of the first pass, all of it new, does not lie below the constant, the rule trains on
every other batch: it speaks where these end below their constant and those between them on none of five looks, surely
not by a tenth. Whatever inputs say about targets would show there. A step of the user's own that drives a second
optimizer is not judged: the loss of two networks against each other stands still where neither wins. Nor is one that
still raises the learning rate in the second half.

What to do: look at what is named above it. Where nothing is, the inputs may not say anything about the targets: look
whether they are shuffled against each other, whether the labels are right, whether a small part of the data can be
learned by heart.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.zeros(64, 16), torch.randint(2, (64,))) for _ in range(8)]
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 16)
data = list(zip(x.split(64), (x[:, 0] > 0).long().split(64)))
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: the task is known to need thousands of steps before anything is seen.

Reference: Mann 1945 and Kendall 1975 (the test); Karpathy 2019 (A recipe for training neural networks), section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import ByHeart, Memories, Trained
from steadygrad.diagnosis.runs.level import Level, level
from steadygrad.diagnosis.runs.outcome import is_high, stands_still
from steadygrad.finding import Finding
from steadygrad.finding import Level as Grade

_FADED = "and its outputs are the same for all examples"
_FORGETS = "and what the targets ask for lies further back than the gradient reaches"
_STANDS = "and no longer falls"
_FIX = "Look whether inputs and targets belong together, and whether the model can learn a few examples by heart."
_FIX_HEART = "Look whether each input still stands beside its own target: shuffle both by the same order."
_FIX_FADED = (
    "Look for what makes all outputs the same: units that died or saturated, which a lower learning rate may keep "
    "alive, or a weight decay that pulls the weights to nothing."
)


def check(trained: Trained, memories: Memories, heart: ByHeart) -> Iterator[Finding]:
    """Compare the end of the trial with the best constant."""
    course = trained.course
    if trained.rivals or trained.trial.warms_up:
        return
    if heart.is_all:
        yield _by_heart(heart)
        return
    high = is_high(course) and not course.is_better()
    faded, forgets = trained.is_constant, high and any(m.is_needed for m in memories.short)
    if not (faded or forgets or stands_still(course)):
        return
    reference = course.reference if high or not faded else level(trained.constant_after).value
    beside = "the start's" if not course.constant else "a constant output's"
    yield _finding(
        f"A trial of {len(course.losses)} steps makes nothing of the inputs: its loss ends at "
        f"{course.ended.value:.4g}, no better than {beside} {reference:.4g}, "
        f"{_FADED if faded else _FORGETS if forgets else _STANDS}.",
        course.ended,
        reference,
        len(course.losses),
        _FIX_FADED if faded else _FIX,
    )


def _by_heart(heart: ByHeart) -> Finding:
    unseen, constant = level(heart.unseen[-1]), level(heart.unseen_constant).value
    return _finding(
        f"A trial of {heart.steps} steps on every other batch learns these by heart: their loss ends at "
        f"{level(heart.seen).value:.4g}, below a constant output's {level(heart.seen_constant).value:.4g}. The batches "
        f"between them, which it does not see, never get there and end at {unseen.value:.4g}, above {constant:.4g}: "
        "what it learns of inputs and targets holds for no others.",
        unseen,
        constant,
        heart.steps,
        _FIX_HEART,
    )


def _finding(message: str, ended: Level, expected: float, steps: int, fix: str) -> Finding:
    return Finding(
        code="RUN004",
        name="no-progress",
        level=Grade.WARN,
        message=message,
        measured=ended.value,
        expected=expected,
        standard_error=ended.error,
        count=steps,
        fix=fix,
    )
