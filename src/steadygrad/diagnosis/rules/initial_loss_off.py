"""The first loss is far above that of a model that knows nothing.

An uninformed softmax over K classes has the loss ln K. Logits of deviation s raise it by s²/2 at first. At s = sqrt(2
ln K) the softmax freezes: one class takes all of the probability, at random, and the loss, 2 ln K there, grows as s
sqrt(2 ln K) from then on; at twice that scale it comes near to 4 ln K, from below, the nearer the more classes there
are. It begins sure and wrong, its weights multiply the gradient as they multiplied the signal, and the steps that would
suit a calm one throw it about. `warn` where the mean loss of the examples is above 4 ln K, and would be by two standard
errors if labels fell on these outputs at random; `error` beyond 8 ln K. In a regression the head's scale multiplies the
outputs on their way and the gradient on its way back alike, so of the factor e^6 in second moments over which networks
were seen to train each may use e^3: `warn` where the squared outputs are that many times the squared targets (or 1, for
smaller ones) by two standard errors, `error` beyond e^6. A loss that is low is no defect: the model may have been
trained before. So was a head that is frozen for the most part, as under an adapter: what it says of other labels is
then worth knowing and no more. Outputs of which most lie at an end of their range, as behind a clamp, have no gradient,
and that is another rule's matter.

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

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from steadygrad.diagnosis.evidence import OUT_OF_SCALE, REGRESSIONS, FrozenHead, LossPair, LossRun
from steadygrad.finding import Finding, Level

# Twice the logit scale at which a softmax freezes gives this many times ln K.
_FROZEN = 4.0
# Forward and backward share what a signal may lose or gain.
_LOUD = math.sqrt(OUT_OF_SCALE)
# The thresholds are far from any calm start: a model just above them by chance is loud as well.
_STANDARD_ERRORS = 2
_MOST = 0.5
_TRAINED_BEFORE = "Nothing, where the frozen head is meant to say something else than it was trained for."
_NORMALISED = ("LogSoftmax", "LogSigmoid", "Log")


def check(run: LossRun, head: FrozenHead) -> Iterator[Finding]:
    """One finding, for the first loss that is too large."""
    for pair in run.pairs:
        if _is_cut_off(pair):
            continue
        found = _of_classes(pair) or _of_numbers(pair)
        if found is not None:
            yield found if head.share <= _MOST else replace(found, level=Level.INFO, fix=_TRAINED_BEFORE)
            return


def _is_cut_off(pair: LossPair) -> bool:
    """Whether most outputs lie at an end of their range: that they start there is not the fault, but that they stay."""
    x, low, high = pair.input, pair.head.low, pair.head.high
    if not (math.isfinite(low) and math.isfinite(high) and x.numel()):
        return False
    # Compared in the outputs' own format, in which the ends of the range are rounded.
    ends = torch.tensor([low, high], dtype=x.dtype)
    return float(torch.isin(x, ends).double().mean()) > _MOST


def _of_classes(pair: LossPair) -> Finding | None:
    if pair.target is None or (uninformed := _uninformed(pair)) is None:
        return None
    losses = pair.per_example()
    if len(losses) < 2:
        return None
    loss, error = float(losses.mean()), float(losses.std()) / math.sqrt(len(losses))
    if not (loss > _FROZEN * uninformed and _at_random(pair) > _FROZEN * uninformed):
        return None
    return _finding(
        Level.ERROR if loss > 2 * _FROZEN * uninformed else Level.WARN,
        f"The first loss is {loss:.3g}, {loss / uninformed:.2g} times that of a uniform guess, {uninformed:.3g}: "
        "the model starts sure of wrong answers.",
        (loss, uninformed, error),
        losses,
    )


def _uninformed(pair: LossPair) -> float | None:
    """Ln K; None for a loss that has no uniform guess, or whose input or labels are not what it is defined for."""
    assert pair.target is not None
    labels = pair.target
    match pair.name:
        case "cross_entropy" | "nll_loss" if pair.input.dim() > 1 and pair.classes > 1:
            fits = pair.name == "cross_entropy" or pair.head.name in _NORMALISED
            return math.log(pair.classes) if fits else None
        case "binary_cross_entropy" | "binary_cross_entropy_with_logits":
            return math.log(2) if float(labels.min()) >= 0 and float(labels.max()) <= 1 else None
        case _:
            return None


def _at_random(pair: LossPair) -> float:
    """Mean loss less two standard errors where labels fall on the outputs at random, in the shares that they have."""
    x, y = pair.input.double(), torch.cat([t.flatten() for t in pair.targets])
    if pair.name.startswith("binary"):
        share = y.double().mean()
        z = x if pair.name.endswith("logits") else torch.logit(x.clamp(1e-30, 1 - 1e-16))
        losses = share * F.softplus(-z) + (1 - share) * F.softplus(z)
    elif y.is_floating_point():
        return math.inf
    else:
        known = y[(y >= 0) & (y < pair.classes) & (y != pair.options.get("ignore_index", -100))]
        shares = torch.bincount(known, minlength=pair.classes).double() / max(len(known), 1)
        losses = torch.logsumexp(x, 1) - torch.tensordot(x, shares, ([1], [0]))
    losses = losses.reshape(len(x), -1).mean(1)
    return float(losses.mean() - _STANDARD_ERRORS * losses.std() / math.sqrt(len(losses)))


def _of_numbers(pair: LossPair) -> Finding | None:
    if pair.name not in REGRESSIONS or pair.target is None or not pair.target.numel():
        return None
    squares = pair.input.double().reshape(len(pair.input), -1).square().mean(1) if pair.input.dim() else None
    if squares is None or len(squares) < 2:
        return None
    targets = float(pair.target.double().square().mean())
    loud, error = float(squares.mean()), float(squares.std()) / math.sqrt(len(squares))
    # Outputs of unit size are no fault of the head's: targets that are far smaller are DAT002.
    if not (targets > 0 and loud - _STANDARD_ERRORS * error > _LOUD * max(targets, 1.0)):
        return None
    return _finding(
        Level.ERROR if loud > OUT_OF_SCALE * max(targets, 1.0) else Level.WARN,
        f"The outputs start with a mean square of {loud:.3g}, the targets have {targets:.3g}: the model starts far "
        "from anything that it should say.",
        (loud, targets, error),
        squares,
    )


def _finding(level: Level, message: str, numbers: tuple[float, float, float], sample: Tensor) -> Finding:
    return Finding(
        code="LOS004",
        name="initial-loss-off",
        level=level,
        message=message,
        measured=numbers[0],
        expected=numbers[1],
        standard_error=numbers[2],
        count=len(sample),
        fix="Draw the last layer's weights with a gain of 1 or less, biases zero, and look at the scale of its inputs.",
    )
