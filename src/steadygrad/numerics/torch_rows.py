"""Softmax and log-softmax along one axis of a torch tensor, with finite gradients of every order.

The framework's kernels do the work. They are wrong in two kinds of rows, where the maximum is infinite: there both the
value and the gradient are NaN. Those rows are replaced before the kernel and set after it, so that no gradient passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .arguments import Empty, divisors
from .empty_rows import constant_log_row, constant_row

_INF = math.inf
HALF = (torch.float16, torch.bfloat16)
_LINE = 64  # bytes of a line of the cache


def softmax(x: Tensor, dim: int, where: Tensor | None, temperature: float, empty: Empty) -> Tensor:
    """Return exp(z - max z) / sum(exp(z - max z)) along `dim`, z = x / temperature.

    >>> softmax(torch.tensor([1e4, 0.0]), 0, None, 1.0, "zero")
    tensor([1., 0.])
    """
    if where is None and temperature == 1:
        return plain_softmax(x, dim, empty)
    return _normalized(torch.softmax, constant_row, x, dim, where, temperature, empty)


def log_softmax(x: Tensor, dim: int, where: Tensor | None, temperature: float, empty: Empty) -> Tensor:
    """Return z - logsumexp(z) along `dim`, z = x / temperature.

    >>> log_softmax(torch.tensor([1e4, 0.0]), 0, None, 1.0, "zero")
    tensor([     0., -10000.])
    """
    if where is None and temperature == 1:
        return plain_log_softmax(x, dim, empty)
    wide = x.float() if x.dtype in HALF else x
    return _normalized(torch.log_softmax, constant_log_row, wide, dim, where, temperature, empty).to(x.dtype)


def plain_softmax(x: Tensor, dim: int, empty: Empty) -> Tensor:
    """Return the softmax without mask or temperature: the framework's kernel, and little around it.

    >>> plain_softmax(torch.tensor([[1e4, 0.0], [-torch.inf, -torch.inf]]), 1, "zero")
    tensor([[1., 0.],
            [0., 0.]])
    """
    y = torch.softmax(x, dim)
    return _settled(torch.softmax, constant_row, x, dim, None, empty) if _has_nan_row(y, dim) else y


def plain_log_softmax(x: Tensor, dim: int, empty: Empty) -> Tensor:
    """Return the log-softmax without mask or temperature.

    >>> plain_log_softmax(torch.tensor([1e4, 0.0]), 0, "zero")
    tensor([     0., -10000.])
    """
    if x.dtype in HALF:  # the framework's kernel rounds the log-sum-exp to half as well
        return plain_log_softmax(x.float(), dim, empty).to(x.dtype)
    y = torch.log_softmax(x, dim)
    return _settled(torch.log_softmax, constant_log_row, x, dim, None, empty) if _has_nan_row(y, dim) else y


def _has_nan_row(y: Tensor, dim: int) -> bool:
    """Return whether a row is NaN, or may be where no value can be read; as few operators as tell it.

    A row whose maximum is not finite is NaN throughout, so one entry of each tells; their sum has no other NaN.
    """
    if torch.compiler.is_compiling() or not y.is_cpu:
        return y.shape[dim] > 0
    if y.shape[dim] == 0:
        return False
    try:
        return math.isnan(_one_of_each_row(y.detach() if y.requires_grad else y, dim).sum().item())
    except RuntimeError:  # what vmap and tracers raise on a read of data
        return True


def _one_of_each_row(y: Tensor, dim: int) -> Tensor:
    """Return a view with one entry of each row along `dim`.

    The entries of a column lie a row apart, and where that is a power of two they share a few sets of the cache, each
    of which evicts the one before. A step of one more cache line from row to row spreads them over all sets.
    """
    n, line = y.shape[dim], _LINE // y.itemsize
    turns = n // line  # rows until the diagonal leaves the matrix and begins again
    if turns < 2 or y.stride(dim) != 1 or not y.is_contiguous() or y.numel() % (n * turns):
        return y.select(dim, 0)
    return y.as_strided((y.numel() // (n * turns), turns), (n * turns, n + line))


def tempered(x: Tensor, dim: int, temperature: float) -> Tensor:
    """Return (x - max x) / temperature along `dim`, in single precision at least; infinite maxima are not subtracted.

    The maximum carries no gradient: whatever is computed from the result does not depend on a shift.

    >>> tempered(torch.tensor([3e38, -3e38]), 0, 0.5)
    tensor([0., -inf])
    """
    wide = x.float() if x.dtype in HALF else x
    z = wide - finite(wide.detach().amax(dim, keepdim=True))
    for divisor in divisors(temperature, single=z.dtype == torch.float32) if temperature != 1 else ():
        z = torch.where(z.isinf(), z, z.nan_to_num(math.nan) * 0) if divisor == _INF else z / divisor
    return z


def may_be_true(flag: Tensor) -> bool:
    """Return whether a flag holds where reading it is free; True where it cannot be read.

    A compiler, a vmap and a tracer cannot branch on data; on an accelerator the read would stop the stream.

    >>> may_be_true(torch.tensor(False)), may_be_true(torch.empty((), device="meta"))
    (False, True)
    """
    if torch.compiler.is_compiling() or not flag.is_cpu:
        return True
    try:
        return bool(flag)
    except RuntimeError:  # what vmap and tracers raise on a branch on data
        return True


def _normalized(
    kernel: Callable[..., Tensor],
    constant: Callable[[Any, Any, Empty], Any],
    x: Tensor,
    dim: int,
    where: Tensor | None,
    temperature: float,
    empty: Empty,
) -> Tensor:
    if x.shape[dim] == 0:
        return x.clone()
    z = masked(x, where)
    if temperature != 1:
        z = tempered(z, dim, temperature)
    y = kernel(z, dim)
    if _has_nan_row(y, dim):
        y = _settled(kernel, constant, z, dim, where, empty)
    return y.to(x.dtype)


def _settled(
    kernel: Callable[..., Tensor],
    constant: Callable[[Any, Any, Empty], Any],
    z: Tensor,
    dim: int,
    where: Tensor | None,
    empty: Empty,
) -> Tensor:
    """Compute the rows with a finite maximum (or a NaN) by the kernel, the others by `constant`."""
    rows = z.detach().movedim(dim, -1)
    allowed = torch.ones_like(rows, dtype=torch.bool) if where is None else where.movedim(dim, -1)
    is_constant = rows.amax(-1, keepdim=True).isinf()
    settled = constant(rows.masked_fill(~is_constant, 0), allowed, empty).movedim(-1, dim)
    is_constant = is_constant.movedim(-1, dim)
    return torch.where(is_constant, settled, kernel(z.masked_fill(is_constant, 0), dim))


def masked(x: Tensor, where: Tensor | None) -> Tensor:
    """Return `x` with -inf where the mask is False; no gradient passes there.

    >>> masked(torch.tensor([1.0, 2.0]), torch.tensor([True, False]))
    tensor([1., -inf])
    """
    return x if where is None else x.masked_fill(~where, -_INF)


def finite(top: Tensor) -> Tensor:
    """Return maxima that can be subtracted: 0 in place of an infinite one.

    >>> finite(torch.tensor([1.0, -torch.inf]))
    tensor([1., 0.])
    """
    return top.masked_fill(top.isinf(), 0)
