"""Batched matrix products into buffers: by NumPy's BLAS where one thread computes, else by torch.

A product of small matrices depends on the kernels that the library has for the processor. On AMD's with AVX-512 torch's
(MKL's) are those for AVX2, and NumPy's (OpenBLAS's) reach up to 2.5 times their speed; elsewhere they are alike. But
OpenBLAS loses a third of its speed where the second matrix is large and transposed, and NumPy multiplies the matrices
of a batch one after the other: such products are torch's, and all of them where it has several threads or another
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

# Below this many entries, 128 x 128, changing libraries from product to product costs as much as it gains.
_LARGE = 2**14


def product(a: Tensor, b: Tensor, out: Tensor) -> Callable[[], object]:
    """Return what computes out = a b anew at each call, from what the tensors then hold.

    Args:
        a: [networks, n, k].
        b: [networks, k, m].
        out: [networks, n, m], contiguous.

    >>> a, b, out = torch.ones(2, 3, 4), torch.ones(2, 4, 1), torch.empty(2, 3, 1)
    >>> multiply = product(a, b, out)
    >>> _ = a.mul_(2), multiply()
    >>> out.flatten()
    tensor([8., 8., 8., 8., 8., 8.])
    """
    if out.is_cpu and torch.get_num_threads() == 1 and not _large_and_transposed(b):
        return partial(np.matmul, a.numpy(), b.numpy(), out=out.numpy())
    return partial(torch.bmm, a, b, out=out)


def _large_and_transposed(b: Tensor) -> bool:
    return b.stride(-1) != 1 and b[0].numel() >= _LARGE


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's BLAS to one thread where torch has one: a product of small matrices is over before others wake."""
    if torch.get_num_threads() > 1:
        yield
        return
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
