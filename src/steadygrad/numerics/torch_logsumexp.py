"""Log-sum-exp along one axis of a torch tensor, without the largest entry in the sum.

The framework's own computes max + log(sum exp), which loses everything below the unit roundoff: its log-sum-exp of
[0, -50] is 0, not 1.9e-22; and its gradient is NaN where the maximum is infinite.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .arguments import divisors
from .torch_rows import HALF, finite, masked, softmax, tempered

_BLOCK = 1 << 19  # bytes, within a second-level cache


def logsumexp(x: Tensor, dim: int, where: Tensor | None, temperature: float) -> Tensor:
    """Return max z + log1p(sum of exp(z - max z) over the others) along `dim`, z = x / temperature.

    >>> logsumexp(torch.tensor([0.0, -50.0], dtype=torch.float64), 0, None, 1.0).item()
    1.9287498479639178e-22
    """
    if x.shape[dim] == 0:
        return x.sum(dim) - math.inf
    rows = masked(x, where).movedim(dim, -1)
    if x.dtype in HALF:
        rows = rows.float()
    if temperature == 1:
        return rows_logsumexp(rows).to(x.dtype)
    top = finite(rows.detach().amax(-1))
    lse = rows_logsumexp(tempered(rows, -1, temperature))
    for divisor in divisors(temperature, single=rows.dtype == torch.float32):
        top = top / divisor
    return (lse + top).to(x.dtype)


def rows_logsumexp(x: Tensor) -> Tensor:
    """Return max x + log1p(sum of exp(x - max x) over the others) along the last axis; its gradient is the softmax.

    >>> rows_logsumexp(torch.tensor([[0.0, -50.0], [-torch.inf, -torch.inf], [torch.inf, 0.0]], dtype=torch.float64))
    tensor([1.9287e-22,       -inf,        inf], dtype=torch.float64)
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return _composed(x)
    result: Tensor = _LogSumExp.apply(x)  # type: ignore[no-untyped-call]
    return result


def _composed(x: Tensor) -> Tensor:
    """Compute it of differentiable operators alone, for a compiler to fuse."""
    top = x.detach().amax(-1, keepdim=True)
    constant = top.isinf()
    largest, first = x.masked_fill(constant, 0).max(-1, keepdim=True)
    others = (x.masked_fill(constant, 0) - largest).exp().scatter(-1, first, 0.0).sum(-1, keepdim=True)
    # With a maximum of +inf the gradient is shared by the entries that reach it; amax does exactly that.
    limit = torch.where(top == math.inf, x.masked_fill(top == -math.inf, 0).amax(-1, keepdim=True), top)
    return torch.where(constant, limit, largest + others.log1p()).squeeze(-1)


class _LogSumExp(torch.autograd.Function):
    """The same a block of rows at a time, so that nothing of the input's size is written."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out = torch.empty(len(rows), dtype=x.dtype, device=x.device)
        step = max(1, _BLOCK // (x.shape[-1] * x.element_size()))
        for part, target in zip(torch.split(rows, step), torch.split(out, step), strict=True):
            _block_logsumexp(part, target)
        return out.reshape(x.shape[:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004 (torch's)
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gradient = _gradient(ctx.saved_tensors[0])
        return gradient * grad.unsqueeze(-1) if torch.is_grad_enabled() else gradient.mul_(grad.unsqueeze(-1))

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return (_gradient(ctx.saved_tensors[0]) * tangent).sum(-1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:  # noqa: ARG004 (torch's)
        result: Tensor = _LogSumExp.apply(x.movedim(in_dims[0], 0))  # type: ignore[no-untyped-call]
        return result, 0


def _block_logsumexp(x: Tensor, out: Tensor) -> None:
    top = x.amax(-1, keepdim=True)
    e = (x - top.masked_fill(top.isinf(), 0)).exp_()
    total = e.sum(-1)
    # The fractional part takes the entries that reach the maximum, exp(0) = 1, out of the sum and leaves the others as
    # they are: cheaper than to look for the first of them. What it took is a whole number; one of it is left out.
    fractions = e.frac_().sum(-1)
    others = fractions + ((total - fractions).round_() - 1)
    top = top.squeeze(-1)
    torch.where(top.isinf(), top, others.log1p_().add_(top), out=out)


def _gradient(x: Tensor) -> Tensor:
    return softmax(x, -1, None, 1.0, "zero")
