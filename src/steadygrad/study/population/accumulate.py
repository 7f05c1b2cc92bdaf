"""Products of batches of matrices, added to what a buffer holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .products import Compute


def all_accumulations(a: Tensor, b: Tensor, out: Tensor, *, alpha: float, turned: Tensor) -> list[Compute]:
    """Return the ways to compute out += alpha a b with one thread, each anew at each call.

    NumPy's products overwrite what they are written to. SciPy's are of the same library, matrix by matrix.

    Args:
        a: [networks, n, k], each matrix or its transpose contiguous.
        b: [networks, k, m], likewise.
        out: [networks, n, m], contiguous.
        alpha: a factor.
        turned: a contiguous tensor of the shape of `b`, to turn `b` in; calls overwrite it.

    >>> a, b, out = torch.ones(1, 2, 3), torch.ones(1, 3, 2), torch.ones(1, 2, 2)
    >>> for add in all_accumulations(a, b, out, alpha=2.0, turned=torch.empty(1, 3, 2)):
    ...     add()
    >>> out[0, 0]
    tensor([19., 19.])
    """
    matrices, straight, around = _matrices(out), _matrices(b), _matrices(turned)
    return [
        partial(_by_torch, a, b, out, alpha),
        partial(_by_scipy, *_gemms(_matrices(a), straight, matrices, alpha)),
        partial(_turned_by_scipy, turned, b, *_gemms(_matrices(a), around, matrices, alpha)),
    ]


def _by_torch(a: Tensor, b: Tensor, out: Tensor, alpha: float) -> None:
    torch.baddbmm(out, a, b, alpha=alpha, out=out)


def _by_scipy(*gemms: Compute) -> None:
    for gemm in gemms:
        gemm()


def _turned_by_scipy(turned: Tensor, b: Tensor, *gemms: Compute) -> None:
    np.copyto(turned.numpy(), b.numpy())
    _by_scipy(*gemms)


def _matrices(batch: Tensor) -> list[Any]:
    return list(batch.numpy())


def _gemms(lefts: Sequence[Any], rights: Sequence[Any], outs: Sequence[Any], alpha: float) -> list[Compute]:
    """Fortran's matrices lie column by column: out' += alpha b' a' is what it sees."""
    from scipy.linalg import get_blas_funcs

    (gemm,) = get_blas_funcs(("gemm",), (outs[0],))
    made: list[Compute] = []
    for a, b, out in zip(lefts, rights, outs, strict=True):
        (left, turn_left), (right, turn_right) = _by_columns(b.T), _by_columns(a.T)
        turns = {"trans_a": turn_left, "trans_b": turn_right}
        made.append(partial(gemm, alpha, left, right, 1.0, out.T, **turns, overwrite_c=True))
    return made


def _by_columns(matrix: Any) -> tuple[Any, int]:
    """A matrix as Fortran takes it without a copy, and whether it is to be transposed."""
    return (matrix, 0) if matrix.flags.f_contiguous else (matrix.T, 1)
