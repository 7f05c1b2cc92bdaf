"""Cross-entropy of a linear layer's logits, which never exist as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from steadygrad.errors import not_allowed

from .arguments import floating, is_tensor
from .loss_options import LossOptions, Reduction, as_kind, check_targets, example_weights

_CHUNK = 1 << 24  # logits: 64 MiB in single precision


def linear_cross_entropy(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    class_weight: Any = None,
    reduction: Reduction = "mean",
    return_logsumexp: bool = False,
    chunk_size: int | None = None,
) -> Any:
    """Return the cross-entropy of logits = hidden weight^T + bias, a chunk of examples at a time.

    The loss is that of `cross_entropy`. A chunk's logits become its gradient in place, dlogits_i = scale (p_i (w + 2 λ
    w_t lse) - targets), which goes into d hidden = dlogits weight and d weight += dlogits^T hidden at once, so three
    matrix products are made, as without chunks, and one chunk of logits is held.

    Args:
        hidden: Shape (..., D), a NumPy array or a torch tensor.
        weight: Shape (K, D), of the same kind and type.
        targets: Integers in [0, K), shape (...).
        bias: Shape (K,), or None.
        z_loss: λ, as in `cross_entropy`, like all up to `return_logsumexp`.
        soft_cap: c, or None.
        label_smoothing: ε.
        ignore_index: The target of an example that counts for nothing.
        class_weight: Shape (K,), or None.
        reduction: "mean", "sum" or "none".
        return_logsumexp: Whether to return (loss, lse).
        chunk_size: Examples a chunk; by default as many as make 2^24 logits, at least 64.

    In a torch backward pass the gradients wait since the forward pass. With reduction="none", and in a second backward
    through a retained graph, they are formed again, by a fourth product. With create_graph=True, and while compiling,
    the logits are made as a whole, by differentiable operators. Under autocast the inputs are cast to its type. Half
    precision is multiplied in half precision, and everything else is in single, the sum over chunks too. NumPy arrays
    have no gradient; the loss alone is computed. `torch.func` transforms are refused with torch's error: take
    `cross_entropy` of the layer's logits there.

    Raises:
        TypeError: If the types differ, or as `cross_entropy`.
        ValueError: If a shape or an option is not allowed, or a target is out of range.

    >>> hidden, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(linear_cross_entropy(hidden, weight, np.array([1]))), float(np.log1p(np.exp(-1)))
    (0.3132616875182..., 0.3132616875182...)

    Reference: Wijmans et al. 2024, "Cut your losses in large-vocabulary language models", section 3, for the idea.
    """
    weights = as_kind(class_weight, hidden)
    options = LossOptions(z_loss, soft_cap, label_smoothing, ignore_index, weights, reduction)
    h, w, b = floating(hidden, "hidden"), floating(weight, "weight"), None if bias is None else floating(bias, "bias")
    h, w, b = _autocast(h, w, b) if is_tensor(h) else (h, w, b)
    _check_layer(h, w, b)
    index = check_targets(as_kind(targets, h), tuple(h.shape[:-1]), w.shape[0], options)
    if chunk_size is not None and (not hasattr(chunk_size, "__index__") or chunk_size < 1):
        raise ValueError(not_allowed("chunk_size", "must be an integer >= 1, or None", chunk_size))
    size = chunk_size or max(64, _CHUNK // max(w.shape[0], 1))
    loss, lse = (_tensor_loss if is_tensor(h) else _array_loss)(h, w, b, index, options, size)
    return (loss, lse) if return_logsumexp else loss


def _check_layer(h: Any, w: Any, b: Any) -> None:
    if is_tensor(h) != is_tensor(w) or h.dtype != w.dtype:
        raise TypeError(not_allowed("weight", f"must be of the same kind and type as `hidden`, {h.dtype}", w.dtype))
    if h.ndim == 0 or w.ndim != 2 or w.shape[1] != h.shape[-1]:
        rule = f"must have the shape (classes, {h.shape[-1] if h.ndim else 'features'})"
        raise ValueError(not_allowed("weight", rule, tuple(w.shape)))
    if b is not None and tuple(b.shape) != (w.shape[0],):
        raise ValueError(not_allowed("bias", f"must have the shape {(w.shape[0],)}", tuple(b.shape)))
    if b is not None and b.dtype != w.dtype:
        raise TypeError(not_allowed("bias", f"must be of the type of `weight`, {w.dtype}", b.dtype))


def _autocast(*tensors: Any) -> Any:
    from .torch_linear_cross_entropy import autocast  # here, so that arrays need no torch

    return autocast(*tensors)


def _tensor_loss(h: Any, w: Any, b: Any, index: Any, options: LossOptions, size: int) -> Any:
    from .torch_linear_cross_entropy import chunked_loss  # here, so that arrays need no torch

    return chunked_loss(h, w, b, index, options, size)


def _array_loss(h: Any, w: Any, b: Any, index: Any, options: LossOptions, size: int) -> tuple[Any, Any]:
    from dataclasses import replace

    from .numpy_cross_entropy import array_cross_entropy, reduced

    rows, flat = h.reshape(index.size, h.shape[-1]), index.reshape(-1)
    each = replace(options, reduction="none")
    chunks = [
        array_cross_entropy(rows[i : i + size] @ w.T + (0 if b is None else b), flat[i : i + size], each)
        for i in range(0, len(rows), size)
    ]
    losses, lse = (np.concatenate([np.empty(0, h.dtype), *parts]) for parts in ((c[k] for c in chunks) for k in (0, 1)))
    weights = example_weights(index, options, losses)
    return reduced(losses.reshape(index.shape), weights, options.reduction), lse.reshape(index.shape)
