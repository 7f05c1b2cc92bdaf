"""The loss of the best constant guess: what a model that looks at no input can reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from steadygrad.measurement.constant_guess import constant_guess as measured
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Batch, Setup

from .loss_run import LossPair, LossRun
from .loss_watch import REGRESSIONS

_MOST_BATCHES = 8
_LEAST_SHARE = 1e-4


def constant_guess(
    setup: Setup, run: LossRun, batches: Iterable[Batch], targets: Callable[[Any], Any] | None = None
) -> float:
    """Return the mean loss over batches where the model gives one best constant; NaN where that is not known.

    The constant is the mean for a difference, the logarithm of the share of each class for a softmax, the log odds or
    the share for a binary cross-entropy.

    Args:
        setup: whose loss function is called.
        run: how it uses outputs and targets.
        batches: examples; a few of them count.
        targets: what to do to targets before.
    """
    assert setup.loss_fn is not None
    few = [b for b, _ in zip(batches, range(_MOST_BATCHES), strict=False) if b.size == run.batch_size]
    if not isinstance(run.outputs, Tensor) or any(b.target is None for b in few):
        return _of_several(setup, few, targets)
    ys = [y if targets is None else targets(y) for b in few if (y := b.target) is not None]
    if not ys:
        return math.nan
    guess = _guess(run, ys, rescaled=targets is not None)
    if guess is None:
        return math.nan
    try:
        with torch.no_grad():
            losses = [float(setup.loss_fn(guess.expand_as(run.outputs).contiguous(), y)) for y in ys]
    except Exception:
        # A loss may want more of the outputs than a constant holds.
        return math.nan
    return sum(losses) / len(losses)


def _of_several(setup: Setup, batches: list[Batch], targets: Callable[[Any], Any] | None) -> float:
    """The same for a loss of several terms, whose constants are searched for together."""
    loss_fn, modules = setup.loss_fn, [setup.model]
    assert loss_fn is not None
    pairs = [(b.inputs, b.targets if targets is None else targets(b.targets)) for b in batches]
    with untouched(*modules):
        losses = measured(setup.model, pairs, loss_fn) if pairs else ()
    return sum(losses) / len(losses) if losses else math.nan


def _guess(run: LossRun, ys: list[Tensor], *, rescaled: bool) -> Tensor | None:
    """The constant, in a shape that expands to the outputs'."""
    pair = next((p for p in run.pairs if p.target is not None), None)
    seen = list(pair.targets) if pair is not None and not rescaled else ys
    name = pair.name if pair is not None else next((p.name for p in run.pairs), "")
    like = run.outputs
    y = torch.cat([t.reshape(len(t), *t.shape[1:]) for t in seen if t.shape[1:] == seen[0].shape[1:] and t.dim()])
    if name in REGRESSIONS:
        return _mean(y, like)
    if name in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
        share = _mean(y, like).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        return torch.logit(share) if name.endswith("logits") else share
    if name in ("cross_entropy", "nll_loss", "log_softmax", "softmax") and like.dim() > 1:
        logarithms = _class_shares(y, pair, like.shape[1]).clamp_min(_LEAST_SHARE).log().to(like)
        return logarithms.reshape(1, -1, *[1] * (like.dim() - 2))
    return None


def _mean(y: Tensor, like: Tensor) -> Tensor:
    """One constant a column where targets have the outputs' columns, else one for all."""
    if y.dim() == like.dim() and y.shape[1:] == like.shape[1:]:
        return y.double().mean(0, keepdim=True).to(like)
    return y.double().mean().to(like)


def _class_shares(y: Tensor, pair: LossPair | None, classes: int) -> Tensor:
    if y.is_floating_point():
        return y.reshape(len(y), classes, -1).double().mean((0, 2))
    known = y.reshape(-1)
    known = known[(known >= 0) & (known < classes)]
    if pair is not None:
        known = known[known != pair.options.get("ignore_index", -100)]
    counts = torch.bincount(known.long(), minlength=classes).double()
    return counts / counts.sum().clamp_min(1)
