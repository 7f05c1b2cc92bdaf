"""The last layer's bias: what an uninformed guess says."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from steadygrad.errors import not_allowed
from steadygrad.init.recipes import Blocks

from .choice import Choice

# A class that the sample lacks counts as seen half a time: Jeffreys' prior.
_UNSEEN = 0.5


def head_bias(targets: torch.Tensor, units: int, loss_fn: Any = None) -> Choice:
    """Return the bias with which the model's first output is the best guess that knows the targets alone.

    Class numbers give ln p_k, binary targets of `BCEWithLogitsLoss` ln(p/(1-p)), other numbers their mean.

    Args:
        targets: [examples, ...]: class numbers, or as many numbers as the head has units.
        units: of the head.
        loss_fn: tells binary targets from numbers.

    Raises:
        ValueError: the targets do not fit the head.

    >>> head_bias(torch.tensor([0, 0, 0, 1]), 2).recipe.words                 # 3.5/5, 1.5/5
    'ln of class priors'
    >>> head_bias(torch.tensor([[1.0], [3.0]]), 1).recipe.numbers
    (2.0,)
    """
    if not len(targets):
        raise ValueError(not_allowed("targets", "must hold at least one example", tuple(targets.shape)))
    if not targets.is_floating_point():
        return Choice(Blocks(_log_priors(targets, units), "ln of class priors"), "class priors of the sample")
    means = _means(targets, units)
    if isinstance(loss_fn, nn.BCEWithLogitsLoss):
        count = len(targets)
        smooth = [(m * count + _UNSEEN) / (count + 2 * _UNSEEN) for m in means]
        logits = tuple(math.log(p / (1 - p)) for p in smooth)
        return Choice(Blocks(logits, "log odds of the targets"), "frequencies of the sample")
    return Choice(Blocks(means, "mean of the targets"), "mean of the sample")


def _log_priors(targets: torch.Tensor, units: int) -> tuple[float, ...]:
    known = targets[targets >= 0].flatten().long()  # negative numbers are what a loss ignores
    if not known.numel() or int(known.max()) >= units:
        got = f"up to {int(known.max())}" if known.numel() else "none"
        raise ValueError(not_allowed("targets", f"must hold class numbers below the head's {units} units", got))
    counts = torch.bincount(known, minlength=units).double() + _UNSEEN
    return tuple((counts / counts.sum()).log().tolist())


def _means(targets: torch.Tensor, units: int) -> tuple[float, ...]:
    values = targets.detach().double()
    if not bool(values.isfinite().all()):
        raise ValueError(not_allowed("targets", "must be finite", "a NaN or an infinity"))
    if values.numel() == len(values):
        return (float(values.mean()),) * units if units == 1 else _mismatch(targets, units)
    if values.shape[-1] == units:
        return tuple(values.reshape(-1, units).mean(0).tolist())
    return _mismatch(targets, units)


def _mismatch(targets: torch.Tensor, units: int) -> tuple[float, ...]:
    shape = tuple(targets.shape)
    raise ValueError(
        not_allowed("targets", f"must hold a number for each of the head's {units} units", f"shape {shape}")
    )
