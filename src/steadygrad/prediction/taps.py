"""Which places the windows of a convolution meet along an axis, and what two windows have in common there."""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .values import Array
from .windows import table

MOST = 1 << 20  # pairs of taps that are looked at one by one: along longer axes few are at a border


class Taps(NamedTuple):
    """Windows of `kernel` taps over an axis of `size` positions, of which there are `out`; of a transposed one too."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    transposed: bool

    def places(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the place that each tap of each window meets, [windows, taps], and whether it is inside the input."""
        o, k = np.arange(self.out)[:, None], np.arange(self.kernel) * self.dilation
        place = o + self.padding - k if self.transposed else o * self.stride - self.padding + k
        step = self.stride if self.transposed else 1
        return place // step, (place >= 0) & (place < self.size * step) & (place % step == 0)


@lru_cache(maxsize=256)
def in_common(taps: Taps) -> Array:
    """Return by lag how many of the taps of one window that are inside the input another one has there too."""
    out, (_, inside) = taps.out, taps.places()
    power = np.abs(np.fft.rfft(inside.astype(float), n=2 * out, axis=0)) ** 2
    counts = np.rint(np.fft.irfft(power.sum(1), n=2 * out)[:out])  # whole numbers: of pairs that far apart
    met = counts / (out - np.arange(out))
    return np.asarray(met / max(met[0], 1e-300))


@lru_cache(maxsize=256)
def apart(taps: Taps) -> csr_array:
    """Return [lags of windows, lags of positions]: the share of pairs of their taps inside the input that are so far.

    Where windows end at a border they are nearer to each other than elsewhere.
    """
    if (taps.out * taps.kernel) ** 2 > MOST:
        lag = np.arange(taps.out)
        lag = lag // taps.stride if taps.transposed else lag * taps.stride
        return everywhere(taps.size, taps.kernel, taps.dilation)[np.minimum(lag, taps.size - 1)]
    place, inside = taps.places()
    share = inside / np.maximum(inside.sum(1, keepdims=True), 1)
    windows = np.arange(taps.out)
    lag = abs(windows[:, None] - windows)
    pairs = np.where(lag > 0, 2, 1) * (taps.out - lag)
    value = share[:, None, :, None] * share[None, :, None, :] / pairs[..., None, None]
    far = np.minimum(abs(place[:, None, :, None] - place[None, :, None, :]), taps.size - 1)
    return table(lag[..., None, None], far, value, (taps.out, taps.size))


@lru_cache(maxsize=256)
def everywhere(size: int, kernel: int, dilation: int) -> csr_array:
    """Return [lags of windows, lags of positions]: the share of pairs of their taps that are so far, all inside."""
    lag, taps = np.arange(size)[:, None], np.arange(-(kernel - 1), kernel)
    return table(lag, np.minimum(abs(lag + taps * dilation), size - 1), (kernel - abs(taps)) / kernel**2, (size, size))


@lru_cache(maxsize=64)
def met_by(axes: tuple[Taps, ...]) -> NDArray[np.intp]:
    """Return the place that each tap of a kernel meets, [taps, windows], -1 where it is outside the input.

    >>> met_by((Taps(3, 3, 3, 1, 1, 1, transposed=False),)).tolist()
    [[-1, 0, 1], [0, 1, 2], [1, 2, -1]]
    """
    each = [np.where(inside, place, -1).T for place, inside in (axis.places() for axis in axes)]

    def joined(before: NDArray[np.intp], axis: int) -> NDArray[np.intp]:
        outer, inner = before[:, None, :, None], each[axis][None, :, None, :]
        both = np.where((outer < 0) | (inner < 0), -1, outer * axes[axis].size + inner)
        return both.reshape(len(before) * axes[axis].kernel, -1)

    return reduce(joined, range(1, len(axes)), each[0])
