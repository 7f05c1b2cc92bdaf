"""The chunked cross-entropy as one differentiable function, with the gradient formed in the forward pass."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from .logit_chunks import Gradients, Layer, Wanted, chunk_pass
from .loss_options import LossOptions, example_weights
from .torch_cross_entropy import reduced, rows_cross_entropy, total_weight
from .torch_rows import HALF

Result: TypeAlias = tuple[Tensor, Tensor]


def chunked_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, index: Tensor, options: LossOptions, size: int
) -> Result:
    """Return the reduced loss and the log-sum-exp of each example.

    >>> h, w = torch.ones(3, 2), torch.zeros(4, 2, requires_grad=True)
    >>> loss, _ = chunked_loss(h, w, None, torch.tensor([0, 1, 2]), LossOptions(), 2)
    >>> round(loss.item(), 4), round(torch.autograd.grad(loss, w)[0][3, 0].item(), 4)
    (1.3863, 0.25)
    """
    rows, flat = hidden.reshape(index.numel(), hidden.shape[-1]), index.reshape(-1)
    if torch.compiler.is_compiling():
        loss, lse = _whole(rows, weight, bias, flat, options)
    else:
        wanted = Wanted(*(torch.is_grad_enabled() and t is not None and t.requires_grad for t in (rows, weight, bias)))
        loss, lse = _Chunked.apply(rows, weight, bias, flat, options, size, wanted)  # type: ignore[no-untyped-call]
    shape = index.shape if options.reduction == "none" else ()
    return loss.reshape(shape).to(hidden.dtype), lse.reshape(index.shape).to(hidden.dtype)


def autocast(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the tensors in autocast's type where autocast is on for their device, as a linear layer would take them.

    >>> autocast(torch.zeros(1), None)
    (tensor([0.]), None)
    """
    device = next(t.device.type for t in tensors if t is not None)
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(None if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)


def _whole(rows: Tensor, weight: Tensor, bias: Tensor | None, flat: Tensor, options: LossOptions) -> Result:
    """Return the same from differentiable operators, with all logits at once."""
    logits = functional.linear(rows, weight, bias)
    loss, lse = rows_cross_entropy(logits.float() if logits.dtype in HALF else logits, flat, options, True)
    assert lse is not None
    return loss, lse


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        flat: Tensor,
        options: LossOptions,
        size: int,
        wanted: Wanted,
    ) -> Result:
        layer = Layer(rows, weight, bias)
        now = wanted if options.reduction != "none" else Wanted(False, False, False)
        losses, lse, gradients = chunk_pass(layer, flat, options, size, _scale(layer, flat, options), now)
        ctx.save_for_backward(rows, weight, bias, flat)
        ctx.call = options, size, wanted
        ctx.waiting = [gradients] if any(now) else []
        ctx.mark_non_differentiable(lse)
        weights = example_weights(flat, options, losses)
        return reduced(losses, weights, options.reduction), lse

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        options, size, wanted = ctx.call
        rows, weight, bias, flat = ctx.saved_tensors
        unused = (None, None, None, None)
        if torch.is_grad_enabled():  # create_graph: a gradient that was formed already has no derivative
            return *_differentiable(Layer(rows, weight, bias), flat, options, wanted, grad), *unused
        layer = Layer(rows, weight, bias)
        if ctx.waiting:  # handed over, so that they exist once; after that they are formed again
            return *_scaled_(ctx.waiting.pop(), grad), *unused
        scale = _scale(layer, flat, options) * grad
        return *chunk_pass(layer, flat, options, size, scale, wanted)[2], *unused


def _scale(layer: Layer, flat: Tensor, options: LossOptions) -> Tensor:
    """Return the derivative of the reduced loss with respect to each example's."""
    like = torch.empty(0, dtype=layer.accumulator, device=flat.device)
    ones = torch.ones(flat.shape, dtype=like.dtype, device=like.device)
    return ones / total_weight(example_weights(flat, options, like)) if options.reduction == "mean" else ones


def _scaled_(gradients: Gradients, grad: Tensor) -> tuple[Tensor | None, ...]:
    return tuple(None if g is None else g.mul_(grad) for g in gradients)


def _differentiable(
    layer: Layer, flat: Tensor, options: LossOptions, wanted: Wanted, grad: Tensor
) -> tuple[Tensor | None, ...]:
    loss, _ = _whole(layer.rows, layer.weight, layer.bias, flat, options)
    inputs = [t for t, needed in zip(layer, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(loss, inputs, grad.to(loss.dtype), create_graph=True))  # type: ignore[arg-type]
    return tuple(next(found) if needed else None for needed in wanted)
