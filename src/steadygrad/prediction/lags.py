"""Means over all pairs of places of a grid by how far they are apart along each axis: the lag."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np

from .values import Array

ROUNDING = 1e-9  # of products by lag, which come of a Fourier transform
EVEN = b""  # a map that is one everywhere
MOST = 1 << 12  # places of a map that is looked at whole
RECENT = 32  # maps whose means are at hand: of large images a megabyte each


@lru_cache(maxsize=256)
def lag_weights(sizes: tuple[int, ...]) -> Array:
    """Return the share of all pairs of positions of a grid that have each lag."""
    axes = []
    for n in sizes:
        w = 2.0 * (n - np.arange(n)) / n**2
        w[0] = 1 / n
        axes.append(w)
    return np.asarray(reduce(np.multiply.outer, axes, np.ones(())))


@lru_cache(maxsize=RECENT)
def alike(share: bytes, sizes: tuple[int, ...]) -> Array:
    """Return the mean products of the deviations, and of the second moments, of two places by lag, [2, *lags].

    Those of a large map as of the product of its means along each axis, which at borders and of single places it is.
    """
    if share == EVEN:
        return np.ones((2, *sizes))
    squares = np.frombuffer(share).reshape(sizes)
    if squares.size <= MOST:
        return _products(squares)
    axes = range(len(sizes))
    means = [squares.mean(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    along = [_products(x / max(float(x.mean()), 1e-300)) for x in means]
    return np.stack([reduce(np.multiply.outer, [x[i] for x in along]) for i in (0, 1)])


def _products(squares: Array) -> Array:
    both = np.stack([np.sqrt(squares), squares])[..., None]
    return np.asarray(np.maximum(autocorrelation(both, squares.shape), ROUNDING))


def mean_at_lag(values: Array) -> Array:
    """Return the mean of a map over the positions of all pairs that are so far apart, [*lags]."""
    both, alone = (autocorrelation(x[None, ..., None], values.shape)[0] for x in (values + 1, values))
    return np.asarray((both - alone - 1) / 2)


def autocorrelation(values: Array, sizes: tuple[int, ...]) -> Array:
    """Return the mean product of entries by their lag, [examples, *lags], over pairs of positions and features."""
    axes = tuple(range(1, 1 + len(sizes)))
    padded = [2 * n for n in sizes]
    f = np.fft.rfftn(values, s=padded, axes=axes)
    power = np.fft.irfftn((f * f.conj()).real, s=padded, axes=axes).mean(-1)
    for axis, n in zip(axes, sizes, strict=True):
        near = np.take(power, range(n), axis=axis)
        far = np.take(power, [0, *range(2 * n - 1, n, -1)], axis=axis)
        counts = (n - np.arange(n)).reshape([-1 if i == axis else 1 for i in range(power.ndim)])
        power = (near + far) / 2 / counts
    return np.asarray(power)
