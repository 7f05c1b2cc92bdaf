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

_BLOCK = 1 << 19  # bytes: a block and its scratch copy fit a second-level cache of 1 MiB


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
        top, total, fractions = rows.new_empty(3, len(rows), 1)
        step = max(1, _BLOCK // (x.shape[-1] * x.element_size()))
        scratch = rows.new_empty(min(step, len(rows)), x.shape[-1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            block = rows[part]
            _block_sums(block, top[part], total[part], fractions[part], scratch[: len(block)])
        # What the fractional part took is a whole number, the entries that reach the maximum; one of them is left out.
        others = fractions + ((total - fractions).round_() - 1)
        return torch.where(top.isinf(), top, others.log1p_().add_(top)).reshape(x.shape[:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
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
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        result: Tensor = _LogSumExp.apply(x.movedim(in_dims[0], 0))  # type: ignore[no-untyped-call]
        return result, 0


def _block_sums(x: Tensor, top: Tensor, total: Tensor, fractions: Tensor, scratch: Tensor) -> None:
    """Write each row's maximum, its sum of e = exp(x - max x), and that sum without the entries that are exactly 1.

    The fractional part sets those to 0 and leaves the others as they are: cheaper than to look for the first of them.
    """
    torch.amax(x, -1, keepdim=True, out=top)
    e = torch.sub(x, top, out=scratch).exp_()
    torch.sum(e, -1, keepdim=True, out=total)
    torch.sum(e.frac_(), -1, keepdim=True, out=fractions)


def _gradient(x: Tensor) -> Tensor:
    return softmax(x, -1, None, 1.0, "zero")
