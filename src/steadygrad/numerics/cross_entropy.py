"""Cross-entropy of logits and class indices, of NumPy arrays and torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steadygrad.errors import not_allowed

from .arguments import axes_of, floating, is_tensor
from .loss_options import LossOptions, Reduction, as_kind, check_targets


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    axis: int = -1,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    class_weight: Any = None,
    reduction: Reduction = "mean",
    return_logsumexp: bool = False,
) -> Any:
    """Return the cross-entropy of class indices under the softmax of logits.

    loss_i = (1 - ε) w_t (lse - x_t) + (ε / K) sum_k w_k (lse - x_k) + λ w_t lse^2,  lse = log sum_k exp(x_k),

    with t the target, K the classes, ε the label smoothing, w the class weights, λ the z-loss and x the logits, capped
    as c tanh(x / c) where `soft_cap` is c. The gradient of the z-loss and the first term together is
    w_t (softmax (1 + 2 λ lse) - onehot).

    Args:
        logits: Shape (..., K, ...), a NumPy array or a torch tensor; half precision is computed in single.
        targets: Integers in [0, K), of the shape of `logits` without the class axis; a list will do.
        axis: The axis of the classes.
        z_loss: λ >= 0, keeps lse near 0.
        soft_cap: c > 0, or None; keeps |x| below c. Infinite logits become +-c.
        label_smoothing: ε in [0, 1].
        ignore_index: Examples with this target count for nothing.
        class_weight: Shape (K,), of the kind of `logits`.
        reduction: "mean" divides the sum by the sum of w_t over the examples that count, and is 0, with gradient 0,
            where none does (the framework's own is NaN there); "sum"; "none" keeps an entry an example.
        return_logsumexp: Whether to return (loss, lse), lse of the capped logits in the shape of `targets`, without
            gradient.

    A row whose largest logit is infinite has the loss NaN, as in the framework. Without z-loss and soft-cap this is the
    framework's own kernel. Error bound of an example: that of `log_softmax`, and for the z-loss 2 λ |lse| times that of
    `logsumexp`; a soft-cap moves each logit by at most 4u |x| before that.

    Raises:
        TypeError: If the logits are complex or the targets not integers.
        ValueError: If a shape, an axis or an option is not allowed, or a target is out of range.

    >>> float(cross_entropy(np.array([[1e4, 0.0], [0.0, 0.0]]), np.array([0, 1])))
    0.34657359027997264
    >>> float(cross_entropy(np.zeros((2, 3)), np.array([-100, -100])))
    0.0

    Reference: z-loss: Chowdhery et al. 2022, "PaLM", section 5; soft-cap: Gemma Team 2024, "Gemma 2", section 2; label
    smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture", section 7.
    """
    x = floating(logits, "logits")
    weights = as_kind(class_weight, x)
    options = LossOptions(z_loss, soft_cap, label_smoothing, ignore_index, weights, reduction)
    if x.ndim == 0:
        raise ValueError(not_allowed("logits", "must have an axis of classes", tuple(x.shape)))
    if axis is None or isinstance(axis, Sequence):
        raise TypeError(not_allowed("axis", "must be the one axis of the classes", axis))
    (dim,) = axes_of(axis, x.ndim)
    shape = (*x.shape[:dim], *x.shape[dim + 1 :])
    index = check_targets(as_kind(targets, x), shape, x.shape[dim], options)
    loss, lse = _computed(x, dim, index, options, return_logsumexp)
    return (loss, lse) if return_logsumexp else loss


def _computed(x: Any, dim: int, index: Any, options: LossOptions, wants_lse: bool) -> tuple[Any, Any]:
    if is_tensor(x):
        from .torch_cross_entropy import rows_cross_entropy  # here, so that arrays need no torch

        return rows_cross_entropy(x.movedim(dim, -1), index, options, wants_lse)
    from .numpy_cross_entropy import array_cross_entropy

    return array_cross_entropy(np.moveaxis(x, dim, -1), index, options)
