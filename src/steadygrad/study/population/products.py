"""Products of batches of matrices, and sums of their rows and squares, into buffers: by what is fastest for a shape.

How fast a product of small matrices is depends on the kernels that a library has for the processor and for the layout.
On AMD's processors with AVX-512 torch's (MKL's) are those for AVX2, and NumPy's (OpenBLAS's) reach 2.5 times their
speed, but only half of that where both matrices lie along what is summed over: turning one first is then faster. A
NumPy may also have no such kernels at all. So where one thread computes, each way is timed once for a shape, and the
fastest taken. With several threads, or on another device, products are torch's: NumPy multiplies the matrices of a
batch one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Compute = Callable[[], object]

# A way takes the place of the one before it where it needs less than this share of its time: between ways that are
# closer noise would decide, and with it, from process to process, the last bits of what is computed.
_CLEARLY_LESS = 0.9
# Each way is timed this often: the best of them is then undisturbed. Where a round takes long, three will do.
_ROUNDS, _FEWEST_ROUNDS, _LONG_SECONDS = 10, 3, 1e-3

_fastest: dict[Hashable, int] = {}


def product(a: Tensor, b: Tensor, out: Tensor, *, turned: Tensor | None = None) -> Compute:
    """Return what computes out = a b anew at each call, from what the tensors then hold.

    Where such a product was not met before, the ways to compute it are timed here and now, which writes to `out`.

    Args:
        a: [networks, n, k].
        b: [networks, k, m].
        out: [networks, n, m], contiguous.
        turned: a contiguous tensor of the shape of `b`, to turn `b` in where that is faster; every call overwrites it.

    >>> a, b, out = torch.ones(2, 3, 4), torch.ones(2, 4, 1), torch.empty(2, 3, 1)
    >>> multiply = product(a, b, out)
    >>> _ = a.mul_(2), multiply()
    >>> out.flatten()
    tensor([8., 8., 8., 8., 8., 8.])
    """
    if not on_one_thread(out):
        return partial(torch.bmm, a, b, out=out)
    ways = all_ways(a, b, out, turned)
    kind = (out.dtype, len(ways), *((t.shape[1:], t.stride()[1:]) for t in (a, b)))
    if kind not in _fastest:
        _fastest[kind] = fastest(ways)
    return ways[_fastest[kind]]


def all_ways(a: Tensor, b: Tensor, out: Tensor, turned: Tensor | None) -> list[Compute]:
    """Return the ways to compute a product with one thread; see `product`."""
    x, y, into = a.numpy(), b.numpy(), out.numpy()
    ways: list[Compute] = [partial(np.matmul, x, y, out=into)]
    if turned is not None:
        ways.append(partial(_turn_and_multiply, x, y, turned.numpy(), into))
    return [*ways, partial(torch.bmm, a, b, out=out)]


def _turn_and_multiply(a: Any, b: Any, turned: Any, out: Any) -> None:
    np.copyto(turned, b)
    np.matmul(a, turned, out=out)


def fastest(ways: Sequence[Compute]) -> int:
    """Return the index of the way that takes the least time; of those that are close, the first.

    >>> fastest([lambda: sum(range(10**4)), lambda: sum(range(10))])
    1
    """
    rounds = [[_seconds(way) for way in ways] for _ in range(_FEWEST_ROUNDS)]
    if sum(rounds[-1]) < _LONG_SECONDS:
        rounds += [[_seconds(way) for way in ways] for _ in range(_ROUNDS - _FEWEST_ROUNDS)]
    best, chosen = [min(times) for times in zip(*rounds, strict=True)], 0
    for i, seconds in enumerate(best):
        if seconds < _CLEARLY_LESS * best[chosen]:
            chosen = i
    return chosen


def _seconds(way: Compute) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def row_sums(a: Tensor, out: Tensor) -> Compute:
    """Return what computes the sum of each row of `a` anew at each call.

    Args:
        a: [networks, n, k], contiguous.
        out: [networks, n, 1], contiguous.

    >>> a, out = torch.ones(2, 3, 4), torch.empty(2, 3, 1)
    >>> _ = row_sums(a, out)()
    >>> out.flatten()
    tensor([4., 4., 4., 4., 4., 4.])
    """
    if not on_one_thread(out):
        return partial(torch.sum, a, 2, keepdim=True, out=out)
    # As a product with ones it is a call of the BLAS, half as long as one of torch's reductions.
    ones = np.ones(a.shape[2], a.numpy().dtype)
    return partial(np.dot, a.numpy().reshape(-1, len(ones)), ones, out=out.numpy().reshape(-1))


def squares(a: Tensor, out: Tensor) -> Compute:
    """Return what computes the sum of the squares of each network's matrix anew at each call.

    Args:
        a: [layers, networks, n, m], contiguous.
        out: [layers, networks], contiguous.

    >>> a, out = torch.full((1, 2, 3, 4), 2.0), torch.empty(1, 2)
    >>> _ = squares(a, out)()
    >>> out
    tensor([[48., 48.]])
    """
    flat = a.flatten(2)
    if not on_one_thread(out):
        return lambda: torch.linalg.vector_norm(flat, dim=2, out=out).square_()
    return partial(np.vecdot, flat.numpy(), flat.numpy(), out=out.numpy())


def column_products(a: Tensor, b: Tensor, out: Tensor) -> Callable[[], Tensor]:
    """Return what computes the inner product of each column of `a` with that of `b` anew at each call.

    Args:
        a: [rows, networks].
        b: [rows, networks].
        out: [networks].

    >>> column_products(torch.full((3, 2), 2.0), torch.ones(3, 2), torch.empty(2))()
    tensor([6., 6.])
    """
    if not on_one_thread(out):
        return lambda: torch.sum(a * b, 0, out=out)
    x, y, into = a.numpy().T, b.numpy().T, out.numpy()

    def compute() -> Tensor:
        np.vecdot(x, y, out=into)
        return out

    return compute


def on_one_thread(out: Tensor) -> bool:
    """Return whether one thread of a CPU computes what is written to a tensor.

    >>> on_one_thread(torch.ones(1, device="meta"))
    False
    """
    return out.is_cpu and torch.get_num_threads() == 1


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
