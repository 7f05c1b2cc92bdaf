"""The loss is made for another task than the one that the targets set.

Class numbers under a squared error say that class 1 lies between 0 and 2. If the classes have no order, no output does
what is asked: the mean of the neighbours is as good as the class. The rule looks at targets that are few whole numbers
from 0 or 1 on, about equally frequent, and asks the inputs whether the order means anything: it fits the numbers
linearly to them, their squares and products, and the same classes numbered in up to 1000 other ways. Counts, ratings
and other ordered targets stand out by their own order; where more than one in twenty other numberings is fitted as
well, the order means nothing (`warn`; `info` where the inputs cannot tell; of three or four classes the own order has
to be beaten by five standard errors). Two classes are in order by themselves.

A loss that wants log-probabilities (`nll_loss`, `kl_div`, `ctc_loss`) and is given raw outputs has no lower bound:
their exponentials do not sum to 1, so it falls for as long as the outputs grow (`error`).

`kl_div` takes log-probabilities first and the probabilities that they are to come to second: logarithms of what the
model says in the second place are exchanged, and the loss is NaN (`error`).

A cross-entropy of sequences or images wants the classes along the second axis. Outputs that have them along the last
one and are brought into that shape by `view` or `reshape` keep their order: what stands for a class is then a piece of
another place (`error`).

What to do: an output a class and `cross_entropy`, which applies log_softmax itself.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
classes = torch.randint(8, (400,))
centres = torch.randn(8, 6)
inputs = centres[classes] + 0.3 * torch.randn(400, 6)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": [(inputs, classes.float()[:, None])], "loss_fn": nn.MSELoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
classes = torch.randint(8, (400,))
centres = torch.randn(8, 6)
inputs = centres[classes] + 0.3 * torch.randn(400, 6)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 8))
setup = {"model": model, "data": [(inputs, classes)], "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the numbers are quantities whose order the inputs show in no linear way.

Reference: Bishop 2006, "Pattern Recognition and Machine Learning", sections 4.1.2 and 4.3.4 (coding of classes;
softmax); Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 3 (permutation tests).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from steadygrad.diagnosis.evidence import ClassNumbering, LossPair, LossRun
from steadygrad.diagnosis.evidence.loss_run import tensors
from steadygrad.diagnosis.evidence.loss_watch import LOG_PROBABILITIES
from steadygrad.finding import Finding, Level

# Log-probabilities of half precision sum to 1 within this.
_NORMALISED = 0.02


def check(run: LossRun, numbering: ClassNumbering) -> Iterator[Finding]:
    """Class numbers under a difference, and raw outputs where log-probabilities are wanted."""
    for pair in run.named(*LOG_PROBABILITIES):
        if pair.head.name not in ("Softmax", "Sigmoid") and (total := _distance_from_one(pair)) > _NORMALISED:
            yield _raw_outputs(pair, total)
    for said in run.exchanged:
        if bool((said < 0).any()):
            yield _exchanged(said)
    for pair in run.named("cross_entropy"):
        if _was_viewed(pair) or any(_is_reshaped(pair.input, x) for x in tensors(run.outputs)):
            yield _reshaped(pair)
    if numbering.classes and numbering.is_unordered is not False:
        yield _class_numbers(numbering)


def _distance_from_one(pair: LossPair) -> float:
    """Median of |ln sum exp| over the dimension that comes nearest to log-probabilities."""
    if pair.input.dim() < 2:
        return 0.0
    x = pair.input.double()
    axes = {"nll_loss": (1,), "ctc_loss": (-1,)}.get(pair.name, range(1, x.dim()))
    return min(float(torch.logsumexp(x, axis).abs().median()) for axis in axes)


def _raw_outputs(pair: LossPair, total: float) -> Finding:
    return Finding(
        code="LOS007",
        name="loss-task-mismatch",
        level=Level.ERROR,
        message=f"{pair.name} expects log-probabilities and is given outputs whose exponentials do not sum to 1 (the "
        f"logarithm of their sum is {total:.3g} off): the loss has no lower bound and falls as the outputs grow.",
        measured=total,
        expected=0.0,
        count=pair.input.numel(),
        fix="Give it the log_softmax of the outputs over the classes."
        if pair.name == "ctc_loss"
        else "End the model in nn.LogSoftmax(dim=1), or use cross_entropy, which applies it.",
    )


def _exchanged(said: torch.Tensor) -> Finding:
    negative = int((said < 0).sum())
    return Finding(
        code="LOS007",
        name="loss-task-mismatch",
        level=Level.ERROR,
        message=f"kl_div is given what comes from the model as its target, of which {negative} of {said.numel()} "
        "entries are negative where probabilities are expected, and what does not as its input: they are exchanged.",
        measured=float(negative),
        expected=0.0,
        count=said.numel(),
        fix="Call kl_div(log_probabilities_of_the_model, probabilities_to_come_to).",
    )


def _is_reshaped(given: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether an output with classes along its last axis was given the shape of one with them along the second."""
    if output.dim() < 3 or given.shape == output.shape or given.shape != output.movedim(-1, 1).shape:
        return False
    here = output.to(given.device)
    return torch.equal(given, here.reshape(given.shape)) and not torch.equal(given, here.movedim(-1, 1))


def _was_viewed(pair: LossPair) -> bool:
    """Whether the model itself did so to what it had made with classes along the last axis."""
    given = tuple(pair.input.shape)
    last = (*given[:1], *given[2:], *given[1:2])
    return len(given) > 2 and last != given and last in pair.head.viewed


def _reshaped(pair: LossPair) -> Finding:
    shape = tuple(pair.input.shape)
    last = (shape[0], *shape[2:], shape[1])
    return Finding(
        code="LOS007",
        name="loss-task-mismatch",
        level=Level.ERROR,
        message=f"cross_entropy is given the outputs of shape {last} reshaped to {shape}, in the order in which they "
        "were: what it takes for the classes of a place are pieces of several places.",
        measured=float(shape[1]),
        expected=float(shape[-1]),
        count=pair.input.numel(),
        fix="Put the axis of classes second by `movedim(-1, 1)` or `transpose`, or flatten outputs and targets to "
        "[places, classes] and [places].",
    )


def _class_numbers(numbering: ClassNumbering) -> Finding:
    tested = numbering.is_unordered is not None
    why = (
        f": numbered in other ways they are fitted as well in {numbering.share:.0%} of the ways, so the order of the "
        "numbers means nothing"
        if tested
        else ", if they are names; whether their order means anything cannot be told from such inputs"
    )
    return Finding(
        code="LOS007",
        name="loss-task-mismatch",
        level=Level.WARN if tested else Level.INFO,
        message=f"The targets are the numbers of {numbering.classes} classes, fitted as quantities{why}.",
        measured=numbering.share if tested else 1.0,
        expected=0.05,
        standard_error=numbering.standard_error if tested else None,
        count=numbering.count,
        fix=f"Give the model {numbering.classes} outputs and use nn.CrossEntropyLoss, class numbers as integers.",
    )
