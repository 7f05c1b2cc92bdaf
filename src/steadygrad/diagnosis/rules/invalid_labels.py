"""Targets that the loss is not defined for, or that leave nothing to learn.

A binary cross-entropy is a loss for labels within [0, 1]: for y = -1 it has no lower bound, and training runs away
while the loss falls. A class number must be one of 0 to K - 1 or the one that is ignored; class probabilities and the
targets of `kl_div` must not be negative and must sum to 1, a Poisson count must not be negative, and the hinge losses
and `soft_margin_loss` want -1 and +1: a label 0 gives no gradient there. A batch whose targets are all ignored has a
mean of 0/0. Labels smoothed by 1 ask for all classes alike, and of classes whose weight is 0 nothing is learned, which
may be meant so where two are left. No label of an alignment (`ctc_loss`) may be the blank. Where all examples have one
and the same class, a constant is the answer. The rule looks at the tensors as they enter the loss, in all batches that
were looked at. Of a loss of one number an example, written by hand too, it asks the gradient at predictions on both
sides of any margin, and of a loss that holds several outputs of one form against each other, as `CosineEmbeddingLoss`
does, at outputs near to each other and apart: where the examples of all labels but one get none, such as those of 0 in
max(0, 1 - y z), one answer to all is right again.

What to do: map the labels to what the loss is defined for; look at how they were read where they are all the same.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(64, 8)
labels = torch.where(inputs[:, :1] > 0, 1.0, -1.0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": [(inputs, labels)], "loss_fn": nn.BCEWithLogitsLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(64, 8)
labels = torch.where(inputs[:, :1] > 0, 1.0, 0.0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
setup = {"model": model, "data": [(inputs, labels)], "loss_fn": nn.BCEWithLogitsLoss()}
```

When to ignore: the labels of the first batches are all of one class and others follow.

Reference: Bishop 2006, "Pattern Recognition and Machine Learning", sections 4.2 and 4.3 (likelihoods of labels).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from steadygrad.diagnosis.evidence import Labels, LossPair, SilentLabels
from steadygrad.finding import Finding, Level

_BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "multilabel_soft_margin_loss")
_SIGNS = ("soft_margin_loss", "hinge_embedding_loss")
# Half precision rounds to 2^-11; a sum of many rounded shares is nearer to 1 than this.
_SUMS_TO_ONE = 0.01
# Fewer examples are of one class by chance: of two even classes, twenty are one time in half a million.
_FEWEST = 20


def check(run: Labels, labels: SilentLabels) -> Iterator[Finding]:
    """The first thing that is wrong with the targets of each loss."""
    found = list(_of_pairs(run))
    yield from found
    if not found and labels.silent and len(labels.taught) == 1:
        yield _unheard(labels)


def _unheard(labels: SilentLabels) -> Finding:
    silent = " and ".join(f"{v:g}" for v in labels.silent)
    signs = (*labels.silent, *labels.taught) == (0.0, 1.0)
    return Finding(
        code="DAT005",
        name="invalid-labels",
        level=Level.ERROR,
        message=f"The loss gives no gradient to the {labels.examples} of {labels.of} examples whose label is {silent}, "
        f"whatever is predicted: all others are {labels.taught[0]:g}, so one answer to all is right, and there is "
        "nothing to learn.",
        measured=float(labels.examples),
        expected=0.0,
        count=labels.of,
        fix="Map 0 and 1 to -1 and +1, the labels of a margin."
        if signs
        else "Give the loss the labels that it tells apart.",
        fix_code="targets = 2 * targets - 1" if signs else "",
    )


def _of_pairs(run: Labels) -> Iterator[Finding]:
    for pair in run.pairs:
        if pair.target is None or not pair.targets:
            continue
        found = next(_wrong(pair), None)
        if found is not None:
            # A constant is right for one loss; a step may have others, as that of two networks against each other.
            harmless = run.own_step and found.level == Level.WARN and _is_constant(pair)
            yield replace(found, level=Level.INFO) if harmless else found


def _wrong(pair: LossPair) -> Iterator[Finding]:
    y = torch.cat([t.detach().flatten() for t in pair.targets])
    if pair.name in _BINARY:
        yield from _outside(pair, y, 0.0, 1.0)
        yield from _of_one_kind(pair, y, tuple(pair.input.shape[1:]) in ((), (1,)))
    elif pair.name in ("cross_entropy", "nll_loss") and (misfit := _misfit(pair)) is not None:
        yield _finding(pair, misfit[0], len(y), y, mend=misfit[1:])
    elif pair.options.get("label_smoothing", 0.0) >= 1:
        what = "are smoothed by 1: all classes are asked for alike, whatever the label, and there is nothing to learn"
        yield _finding(pair, what, len(y), y, mend=("Smooth the labels by less, such as 0.1.", ""))
    elif pair.name in ("cross_entropy", "nll_loss") and not pair.target.is_floating_point():  # type: ignore[union-attr]
        yield from _class_numbers(pair, y)
    elif pair.name == "cross_entropy" or (pair.name == "kl_div" and not pair.options.get("log_target")):
        yield from _shares(pair)
    elif pair.name == "ctc_loss":
        yield from _sequences(pair)
    elif pair.name == "poisson_nll_loss":
        yield from _outside(pair, y, 0.0, float("inf"))
    elif pair.name in _SIGNS:
        wrong = y.abs() != 1
        if bool(wrong.any()):
            what = "are neither -1 nor +1, the labels of this loss"
            yield _finding(pair, what, int(wrong.sum()), y, mend=("Map the two labels to -1 and +1.", ""))


def _misfit(pair: LossPair) -> tuple[str, str, str] | None:
    """What keeps class numbers from being any, and what mends it: another type, or a dimension too many."""
    x, y = pair.input, pair.target
    assert y is not None
    if y.is_floating_point() and y.dim() == x.dim() - 1:
        what = "are floating-point numbers, where class numbers are integers"
        return what, "Make them integers.", "targets = targets.long()"
    if not y.is_floating_point() and y.dim() == x.dim() > 1 and y.shape[1] == 1 and x.shape[1] > 1:
        what = "have a dimension of size 1 too many for class numbers"
        return what, "Take that dimension out.", "targets = targets.squeeze(1)"
    if pair.name == "cross_entropy" and not y.is_floating_point() and y.shape == x.shape and x.dim() > 1:
        what = "are integers of the outputs' shape, where class probabilities are floating-point numbers"
        return what, "Make them floating-point numbers, or class numbers by `argmax(1)`.", "targets = targets.float()"
    return None


def _outside(pair: LossPair, y: Tensor, low: float, high: float) -> Iterator[Finding]:
    outside = int(((y < low) | (y > high)).sum())
    if outside:
        span = f"within [{low:g}, {high:g}]" if high < float("inf") else f"from {low:g} on"
        what = (
            f"lie between {float(y.min()):.3g} and {float(y.max()):.3g}, where {pair.name} is defined for labels {span}"
        )
        yield _finding(pair, f"{what}: the loss has no lower bound", outside, y, mend=_brought(y, span))


def _brought(y: Tensor, span: str) -> tuple[str, str]:
    """What brings labels to where a loss is defined, and the code for it where two of them leave no doubt."""
    values = sorted(set(y.unique().tolist()))
    if values == [-1.0, 1.0]:
        return "Map -1 and +1 to 0 and 1.", "targets = (targets + 1) / 2"
    if len(values) == 2 and values[0] == 0:
        return f"Map {values[1]:g} to 1.", f"targets = targets / {values[1]:g}"
    return f"Bring the targets {span}, or take a loss that is defined for them.", ""


def _class_numbers(pair: LossPair, y: Tensor) -> Iterator[Finding]:
    ignored = pair.options.get("ignore_index", -100)
    known = y[y != ignored]
    outside = int(((known < 0) | (known >= pair.classes)).sum())
    if outside:
        what = f"are class numbers outside of 0 to {pair.classes - 1}: they go from {known.min():d} to {known.max():d}"
        yield _finding(pair, what, outside, y, mend=_numbered(pair.classes, known))
    empty = sum(not bool((t != ignored).any()) for t in pair.targets)
    if empty and pair.options.get("reduction", "mean") == "mean":
        what = f"are to be ignored, all of them in {empty} of {len(pair.targets)} batches, whose mean loss is 0/0"
        mend = "Leave such batches out, or divide a summed loss by the number of targets that count, at least 1.", ""
        yield _finding(pair, what, int((y == ignored).sum()), y, mend=mend)
    yield from _of_one_kind(pair, known, alone=pair.classes > 1)
    yield from _without_weight(pair, known)


def _without_weight(pair: LossPair, known: Tensor) -> Iterator[Finding]:
    """Classes that occur and count for nothing: one at most that counts is the answer to all; more may be meant so."""
    weight = pair.options.get("weight")
    if weight is None or not len(known) or bool(((known < 0) | (known >= len(weight))).any()):
        return
    present = known.unique()
    counts = weight.detach().cpu()[present] != 0
    if bool(counts.all()):
        return
    silent, learns = present[~counts], int(counts.sum()) > 1
    left = "nothing is learned of it" if learns else "one class at most is left, and there is nothing to learn"
    what = f"are of a class whose weight is 0 ({', '.join(map(str, silent[:3].tolist()))}): {left}"
    wrong = int(torch.isin(known, silent).sum())
    mend = "Give the loss weights above 0 for all classes that are to be learned.", ""
    yield _finding(pair, what, wrong, known, level=Level.INFO if learns else Level.WARN, mend=mend)


def _sequences(pair: LossPair) -> Iterator[Finding]:
    """Labels of an alignment, as far as each sequence goes: the blank stands for none."""
    y, lengths, blank = pair.target, pair.options["target_lengths"], pair.options["blank"]
    assert y is not None
    if y.dim() > 1:
        y = y[torch.arange(y.shape[1], device=y.device) < torch.as_tensor(lengths, device=y.device)[:, None]]
    blanks, classes = int((y == blank).sum()), pair.input.shape[-1]
    if blanks:
        mend = "Leave its number out when labels are numbered, or give the loss a `blank` that no label has.", ""
        yield _finding(pair, f"are {blank}, the blank, which no label may be", blanks, y, mend=mend)
    outside = int(((y < 0) | (y >= classes)).sum())
    if outside:
        mend = "Give the model an output for each label and one for the blank, or look at how the targets are read.", ""
        yield _finding(pair, f"are class numbers outside of 0 to {classes - 1}", outside, y, mend=mend)


def _shares(pair: LossPair) -> Iterator[Finding]:
    axis = 1 if pair.name == "cross_entropy" else -1
    rows = [t.detach().double() for t in pair.targets if t.dim() > 1]
    negative = sum(int((t < 0).sum()) for t in rows)
    if negative:
        yield _finding(
            pair,
            "are negative, where probabilities are expected",
            negative,
            torch.cat([t.flatten() for t in rows]),
            mend=("Give it probabilities, as `softmax` makes them of scores.", ""),
        )
    sums = [t.sum(axis).flatten() for t in rows]
    off = sum(int(((s - 1).abs() > _SUMS_TO_ONE).sum()) for s in sums)
    if off and pair.name == "cross_entropy":
        totals = torch.cat(sums)
        what = f"do not sum to 1 over the classes but to {float(totals.min()):.3g} to {float(totals.max()):.3g}"
        mend = (
            "Divide the probabilities of each example by their sum.",
            f"targets = targets / targets.sum({axis}, True)",
        )
        yield _finding(pair, what, off, totals, level=Level.WARN, mend=mend)


def _is_constant(pair: LossPair) -> bool:
    y = torch.cat([t.detach().flatten() for t in pair.targets])
    return bool((y == y[0]).all())


def _of_one_kind(pair: LossPair, y: Tensor, alone: bool) -> Iterator[Finding]:
    """One and the same label for all examples: nothing to tell apart."""
    if alone and len(y) >= _FEWEST and bool((y == y[0]).all()):
        what = f"are all {float(y[0]):g}: a constant is right, and there is nothing to learn"
        mend = "Look at how the targets are read, and whether the batches hold all classes.", ""
        yield _finding(pair, what, len(y), y, level=Level.WARN, mend=mend)


def _numbered(classes: int, known: Tensor) -> tuple[str, str]:
    """What mends class numbers that lie outside, and the code for it: of K classes counted from 1 alone it is known."""
    if int(known.min()) == 1 and int(known.max()) == classes:
        return "Count the classes from 0.", "targets = targets - 1"
    if int(known.min()) < 0:
        low = int(known.min())
        return f"Count the classes from 0, or say `ignore_index={low}` where {low} marks what is to be left out.", ""
    return (
        f"Give the model {int(known.max()) + 1} outputs, one for each class, or look at how the targets are read.",
        "",
    )


def _finding(
    pair: LossPair, what: str, wrong: int, y: Tensor, *, mend: tuple[str, ...], level: Level = Level.ERROR
) -> Finding:
    fix, code = mend
    return Finding(
        code="DAT005",
        name="invalid-labels",
        level=level,
        message=f"{wrong} of {len(y)} targets of {pair.name} {what}.",
        measured=float(wrong),
        expected=0.0,
        count=len(y),
        fix=fix,
        fix_code=code,
    )
