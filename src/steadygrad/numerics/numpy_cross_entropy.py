"""Cross-entropy over the last axis of a NumPy array."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never

import numpy as np

from .loss_options import LossOptions, Reduction, example_weights
from .numpy_rows import log_softmax, logsumexp

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def array_cross_entropy(logits: Array, index: Array, options: LossOptions) -> tuple[Array, Array]:
    """Return the reduced loss and the log-sum-exp of each example.

    >>> loss, lse = array_cross_entropy(np.zeros((1, 2)), np.array([1]), LossOptions(z_loss=1.0))
    >>> round(loss.item(), 8), lse
    (1.17360019, array([0.69314718]))
    """
    x = capped(logits.astype(np.promote_types(logits.dtype, np.float32)), options.soft_cap)
    weight, lse = example_weights(index, options, x), logsumexp(x, None, 1.0)
    losses = _smoothed(log_softmax(x, None, 1.0, "nan"), index, weight, options)
    if options.z_loss:
        losses = losses + options.z_loss * weight * lse**2
    losses = np.where(np.isinf(lse), np.nan, losses)
    losses = np.where(index == options.ignore_index, 0, losses)
    return reduced(losses, weight, options.reduction).astype(logits.dtype), lse.astype(logits.dtype)


def capped(x: Array, soft_cap: float | None) -> Array:
    """Return c tanh(x / c), or `x` without a cap.

    >>> capped(np.array([np.inf, 0.0]), 30.0)
    array([30.,  0.])
    """
    return x if soft_cap is None else np.asarray(soft_cap * np.tanh(x / soft_cap), x.dtype)


def reduced(losses: Array, weight: Array, reduction: Reduction) -> Array:
    """Return the losses summed, averaged by weight (0 without any) or as they are.

    >>> reduced(np.zeros(2), np.zeros(2), "mean")
    array(0.)
    """
    match reduction:
        case "none":
            return losses
        case "sum":
            return np.asarray(losses.sum())
        case "mean":
            total = weight.sum()
            return np.asarray(losses.sum() / (total if total else 1))
        case _:
            assert_never(reduction)


def _smoothed(log_p: Array, index: Array, weight: Array, options: LossOptions) -> Array:
    target = np.where(index == options.ignore_index, 0, index)[..., None]
    losses: Array = -(1 - options.label_smoothing) * weight * np.take_along_axis(log_p, target, -1)[..., 0]
    if not options.label_smoothing:
        return losses
    share = options.label_smoothing / log_p.shape[-1]
    classes = 1.0 if options.class_weight is None else np.asarray(options.class_weight, log_p.dtype)
    smooth: Array = losses - share * (classes * log_p).sum(-1)
    return smooth
