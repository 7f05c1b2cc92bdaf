"""Softmax, log-softmax and log-sum-exp over the last axis of a NumPy array, a block of rows at a time.

A block is small enough to stay in the cache between the maximum, the exponential and the sum, so memory is read once
and written once. Half precision is computed in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from .arguments import Empty, divisors
from .empty_rows import constant_log_row, constant_row

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_BLOCK = 1 << 16  # entries: 512 KiB in double precision, within a second-level cache


_silent = np.errstate(all="ignore")  # overflow to inf and underflow to 0 are what is meant


@_silent
def softmax(x: Array, where: Array | None, temperature: float, empty: Empty) -> Array:
    """Return exp(z - max z) / sum(exp(z - max z)) along the last axis, z = x / temperature.

    >>> softmax(np.array([1e4, 0.0]), None, 1.0, "zero")
    array([1., 0.])
    """
    out = np.empty(x.shape, x.dtype)
    for rows, target, mask in _blocks(x, out, where):
        top, z = _shifted(rows, mask, temperature, _scratch(target))
        np.exp(z, out=z)
        np.divide(z, z.sum(-1, keepdims=True), out=z)
        _settle(z, rows, mask, top, empty, log=False)
        _store(z, target)
    return out


@_silent
def log_softmax(x: Array, where: Array | None, temperature: float, empty: Empty) -> Array:
    """Return z - logsumexp(z) along the last axis, z = x / temperature.

    >>> log_softmax(np.array([1e4, 0.0]), None, 1.0, "zero")
    array([     0., -10000.])
    """
    out = np.empty(x.shape, x.dtype)
    for rows, target, mask in _blocks(x, out, where):
        top, z = _shifted(rows, mask, temperature, _scratch(target))
        z -= np.log1p(_others(z))
        _settle(z, rows, mask, top, empty, log=True)
        _store(z, target)
    return out


@_silent
def logsumexp(x: Array, where: Array | None, temperature: float) -> Array:
    """Return max z + log1p(sum of exp(z - max z) over the others) along the last axis, z = x / temperature.

    >>> float(logsumexp(np.array([0.0, -50.0]), None, 1.0))
    1.9287498479639178e-22
    """
    out = np.full((*x.shape[:-1], 1), -np.inf, x.dtype)  # which is the log-sum-exp of nothing
    scratch = np.empty(0)
    for rows, target, mask in _blocks(x, out, where):
        if scratch.shape != rows.shape:
            scratch = np.empty(rows.shape, _working(rows.dtype))
        top, z = _shifted(rows, mask, temperature, scratch)
        total = np.log1p(_others(z, scratch))
        for divisor in divisors(temperature, single=total.dtype == np.float32):
            top = np.where(np.isinf(top), top, top / divisor)
        target[...] = np.where(np.isinf(top), top, total + top)
    return out[..., 0]


def _working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _blocks(x: Array, out: Array, where: Array | None) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield matching blocks of rows of the input, the output and the mask."""
    n = x.shape[-1]
    rows, targets = x.reshape(math.prod(x.shape[:-1]), n), out.reshape(math.prod(x.shape[:-1]), out.shape[-1])
    masks = None if where is None else where.reshape(rows.shape)
    step = max(1, _BLOCK // max(n, 1))
    for i in range(0, len(rows) if n else 0, step):
        part = slice(i, i + step)
        yield rows[part], targets[part], None if masks is None else masks[part]


def _scratch(target: Array) -> Array:
    """Return the output itself where it is precise enough to compute in."""
    return target if target.dtype == _working(target.dtype) else np.empty(target.shape, np.float32)


def _store(z: Array, target: Array) -> None:
    if z is not target:
        target[...] = z


def _shifted(x: Array, mask: Array | None, temperature: float, z: Array) -> tuple[Array, Array]:
    """Return the maximum of each row, and in `z` the differences to it over the temperature."""
    source = x if mask is None else np.where(mask, x, -np.inf)
    top = source.max(-1, keepdims=True).astype(z.dtype, copy=False)
    np.subtract(source, np.where(np.isinf(top), 0, top), out=z, dtype=z.dtype)
    if temperature != 1:
        for divisor in divisors(temperature, single=z.dtype == np.float32):
            _divide(z, divisor)
    return top, z


def _divide(z: Array, divisor: float) -> None:
    if divisor == math.inf:
        z[np.isfinite(z)] = 0
    else:
        z /= divisor


def _others(z: Array, out: Array | None = None) -> Array:
    """Return the sum of exp(z) over the entries of a row but for one that is the largest, which is exp(0) = 1."""
    first = z.argmax(-1)[:, None]
    e = np.exp(z, out=out)
    np.put_along_axis(e, first, 0, -1)
    total: Array = e.sum(-1, keepdims=True)
    return total


def _settle(z: Array, x: Array, mask: Array | None, top: Array, empty: Empty, *, log: bool) -> None:
    """Set the rows whose maximum is infinite: they have a limit or a policy, not a quotient."""
    constant = np.isinf(top[:, 0])
    if constant.any():
        allowed = np.ones_like(x[constant], bool) if mask is None else mask[constant]
        fill = constant_log_row if log else constant_row
        z[constant] = fill(np.where(allowed, x[constant], -np.inf), allowed, empty)
