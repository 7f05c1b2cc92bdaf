"""Cross-entropy over the last axis of a torch tensor, by the framework's kernel."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from .loss_options import LossOptions, Reduction, example_weights
from .torch_logsumexp import logsumexp
from .torch_rows import HALF, may_be_true


def rows_cross_entropy(
    logits: Tensor, index: Tensor, options: LossOptions, wants_lse: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the reduced loss, and the log-sum-exp of each example where it is asked for.

    >>> loss, lse = rows_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), LossOptions(z_loss=1.0), True)
    >>> round(loss.item(), 6), lse
    (1.1736, tensor([0.6931]))
    """
    x = _without_ignored(logits.float() if logits.dtype in HALF else logits, index == options.ignore_index)
    x = capped(x, options.soft_cap)
    weight = example_weights(index, options, x)
    losses = _framework_losses(x, index, options)
    lse = logsumexp(x, x.ndim - 1, None, 1.0) if options.z_loss else None
    if lse is not None:
        counted = torch.where(weight == 0, torch.zeros_like(lse), lse)
        losses = losses + options.z_loss * weight * counted**2
    if wants_lse and lse is None:
        lse = logsumexp(x.detach(), x.ndim - 1, None, 1.0)
    loss = reduced(losses, weight, options.reduction).to(logits.dtype)
    return loss, None if lse is None else lse.detach().to(logits.dtype)


def capped(x: Tensor, soft_cap: float | None) -> Tensor:
    """Return c tanh(x / c), or `x` without a cap.

    >>> capped(torch.tensor([torch.inf, 0.0]), 30.0)
    tensor([30.,  0.])
    """
    return x if soft_cap is None else soft_cap * torch.tanh(x / soft_cap)


def reduced(losses: Tensor, weight: Tensor, reduction: Reduction) -> Tensor:
    """Return the losses summed, averaged by weight (0 without any) or as they are.

    >>> reduced(torch.zeros(2), torch.zeros(2), "mean")
    tensor(0.)
    """
    match reduction:
        case "none":
            return losses
        case "sum":
            return losses.sum()
        case "mean":
            return losses.sum() / total_weight(weight)
        case _:
            assert_never(reduction)


def total_weight(weight: Tensor) -> Tensor:
    """Return the sum of the weights, 1 where it is 0.

    >>> total_weight(torch.zeros(2))
    tensor(1.)
    """
    total = weight.sum()
    return torch.where(total == 0, torch.ones_like(total), total)


def _without_ignored(x: Tensor, ignored: Tensor) -> Tensor:
    """Return logits in which an ignored row that is not finite is zeros: it would pass 0 times NaN back."""
    if x.shape[-1] == 0 or not may_be_true(ignored.any()):
        return x
    if not may_be_true((ignored & ~x.detach().amax(-1).isfinite()).any()):
        return x
    return x.masked_fill(ignored.unsqueeze(-1), 0)


def _framework_losses(x: Tensor, index: Tensor, options: LossOptions) -> Tensor:
    weight = None if options.class_weight is None else options.class_weight.to(x.dtype)
    return functional.cross_entropy(
        x.reshape(index.numel(), x.shape[-1]),
        index.reshape(-1),
        weight=weight,
        ignore_index=options.ignore_index,
        label_smoothing=options.label_smoothing,
        reduction="none",
    ).reshape(index.shape)
