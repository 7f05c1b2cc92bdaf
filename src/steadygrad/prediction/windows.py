"""Means over windows of positions, and what they send back: how second moments and lags pass them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .field import Array, Field
from .values import Moments


class Window(NamedTuple):
    """Windows along an axis of `size` positions, of which there are `out`."""

    kernel: int
    stride: int
    padding: int
    size: int
    out: int


@lru_cache(maxsize=256)
def _lags(window: Window) -> Array:
    """Return [lags of windows, lags of positions]: how many of the pairs of positions in two windows are that far."""
    k, n = min(window.kernel, window.size), window.size
    table = np.zeros((window.out, n))
    apart = np.abs(np.arange(-(k - 1), k)[None] + window.stride * np.arange(window.out)[:, None])
    weight = (k - np.abs(np.arange(-(k - 1), k))) / k**2
    for lag, row in enumerate(apart):
        np.add.at(table[lag], np.minimum(row, n - 1), weight)
    return table


@lru_cache(maxsize=256)
def _places(window: Window) -> Array:
    """Return [windows, positions]: the share of each position in each window's mean."""
    start = window.stride * np.arange(window.out)[:, None] - window.padding
    place = np.arange(window.size)[None]
    held = ((place >= start) & (place < start + window.kernel)).astype(float)
    return np.asarray(held / np.maximum(held.sum(1, keepdims=True), 1))


@lru_cache(maxsize=256)
def _back(window: Window) -> Array:
    """Return [lags of positions, lags of windows]: how far the windows of two positions are apart."""
    table = np.zeros((window.size, window.out))
    of = np.minimum(np.arange(window.size) // window.stride, window.out - 1)
    for lag in range(window.size):
        np.add.at(table[lag], of[lag:] - of[: window.size - lag], 1 / (window.size - lag))
    return table


def _along(values: Array, tables: Iterable[Array]) -> Array:
    for axis, table in enumerate(tables):
        values = np.moveaxis(np.tensordot(table, values, axes=(1, axis)), 0, axis)
    return values


def strided(gaps: Array, stride: list[int], sizes: tuple[int, ...], transposed: bool = False) -> Array:
    """Return the gaps by the lags of the outcome: of `stride` steps in the input, or of a fraction of one."""
    for axis, (step, n) in enumerate(zip(stride, sizes, strict=True)):
        lags = np.arange(n)
        source = lags // step if transposed else lags * step
        gaps = np.take(gaps, np.minimum(source, gaps.shape[axis] - 1), axis=axis)
    return gaps


def averaged(m: Moments, windows: list[Window]) -> Moments:
    """Return the moments of means over windows: of second moment by what two positions have in common."""
    assert m.field is not None
    tables = [_lags(w) for w in windows]
    within, across = (_along(1 - gap, tables) for gap in (m.field.within, m.field.across))
    level, here = float(within.flat[0]), float(m.field.across.flat[0])
    apart = max(float(_along(m.field.across - m.field.within, tables).flat[0]), 0.0)
    kept = apart / here if here > 0 else level
    share = _along(m.field.share, [_places(w) for w in windows])
    scale = max(level, 1e-300)
    within, across = (np.maximum(1 - product / scale, 0.0) for product in (within, across))
    field = Field(
        share / share.mean(), within, across, m.field.varied
    )  # beside their size products of sums vary as before
    return replace(m, q=m.q * level, d=m.d * kept, field=field, unit_variance=0.0)


def spread_back(m: Moments, windows: list[Window]) -> Moments:
    """Return the moments of a gradient that each window shares out among its positions."""
    assert m.field is not None
    tables, level = [_back(w) for w in windows], 1.0
    for axis, w in enumerate(windows):
        met = w.kernel * w.out / w.size
        next_one = float(np.take(m.field.within, min(1, w.out - 1), axis=axis).flat[0]) if w.out > 1 else 0.0
        level *= met * (1 + max(met - 1, 0.0) * (1 - next_one)) / w.kernel**2
    within, across = (_along(gap, tables) for gap in (m.field.within, m.field.across))
    within.flat[0] = 0.0
    field = Field(np.ones(within.shape), within, across, m.field.varied)
    return replace(m, mean=m.mean / math.prod(w.kernel for w in windows), q=m.q * level, d=m.d * level, field=field)
