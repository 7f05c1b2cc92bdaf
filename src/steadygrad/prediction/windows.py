"""Means over windows of positions, and what they send back: how second moments and lags pass them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from .field import Array, Field
from .gram import Gram
from .values import Moments


class Window(NamedTuple):
    """Windows along an axis of `size` positions, of which there are `out`; `zeros`: whether those of a border count;
    `adaptive`: whether windows share the places out among them, a kernel being the longest that there is.
    """

    kernel: int
    stride: int
    padding: int
    size: int
    out: int
    zeros: bool = False
    adaptive: bool = False

    @property
    def step(self) -> float:
        """How far one window is from the next."""
        return self.size / self.out if self.adaptive else self.stride

    def places(self) -> tuple[Any, Any, Any]:
        """Return the place of each tap, [windows, taps], whether it is inside, and how many count, [windows, 1]."""
        window = np.arange(self.out)[:, None]
        first, last = self.stride * window - self.padding, np.full_like(window, self.size)
        if self.adaptive:
            first, last = window * self.size // self.out, -(-(window + 1) * self.size // self.out)
        place = first + np.arange(self.kernel)
        held = (place >= 0) & (place < last)
        # The last window may go beyond the padding: what is there does not count.
        whole = np.minimum(first + self.kernel, self.size + self.padding) - first
        count = whole if self.zeros else np.maximum(held.sum(1, keepdims=True), 1)
        return np.clip(place, 0, self.size - 1), held, count


@lru_cache(maxsize=256)
def _lags(window: Window) -> csr_array:
    """Return [lags of windows, lags of positions]: how many of the pairs of positions in two windows are that far."""
    k, n = min(window.kernel, window.size), window.size
    apart = np.abs(np.arange(-(k - 1), k)[None] + np.rint(window.step * np.arange(window.out)).astype(int)[:, None])
    weight = (k - np.abs(np.arange(-(k - 1), k))) / k**2
    return table(np.arange(window.out)[:, None], np.minimum(apart, n - 1), weight, (window.out, n))


def table(rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> csr_array:
    """Return a matrix, of which nearly all entries are zero, from its terms: what falls on one place is added."""
    i, j, v = (x.ravel() for x in np.broadcast_arrays(rows, columns, values))
    return coo_array((v, (i, j)), shape=shape).tocsr()


@lru_cache(maxsize=256)
def _places(window: Window) -> csr_array:
    """Return [windows, positions]: the share of each position in each window's mean."""
    place, held, count = window.places()
    return table(np.arange(window.out)[:, None], place, held / count, (window.out, window.size))


@lru_cache(maxsize=256)
def _own(window: Window) -> csr_array:
    """Return [windows, lags of positions]: the share of pairs of positions in each window that are that far apart."""
    _, held, count = window.places()
    inside = held.sum(1, keepdims=True)
    lag = np.arange(min(window.kernel, window.size))
    pairs = np.where(lag > 0, 2.0, 1.0) * np.maximum(inside - lag, 0) / count**2
    return table(np.arange(window.out)[:, None], lag, pairs, (window.out, window.size))


@lru_cache(maxsize=256)
def _back(window: Window) -> csr_array:
    """Return [lags of positions, lags of windows]: how far the windows of two positions are apart.

    Of the positions before `end`, whose windows are a stride apart, those that cross into one window more are counted;
    the last ones, which all belong to the last window, are looked at one by one.
    """
    n, s = window.size, window.stride
    end = min(n, window.out * s)
    lag = np.arange(end)
    whole, rest = np.divmod(end - lag, s)
    more = whole * (lag % s) + np.maximum(rest - (s - lag % s), 0)
    terms = [(lag, lag // s, (end - lag - more) / (n - lag)), (lag, lag // s + 1, more / (n - lag))]
    for place in range(end, n):
        lag = np.arange(place + 1)
        terms.append((lag, window.out - 1 - np.minimum((place - lag) // s, window.out - 1), 1 / (n - lag)))
    rows, columns, values = (np.concatenate(x) for x in zip(*terms, strict=True))
    return table(rows, np.minimum(columns, window.out - 1), values, (n, window.out))


def along(values: Array, tables: Iterable[csr_array]) -> Array:
    """Return an array of which each axis went through a matrix of its own."""
    for axis, table in enumerate(tables):
        first = np.moveaxis(values, axis, 0)
        summed = (table @ first.reshape(len(first), -1)).reshape(-1, *first.shape[1:])
        values = np.moveaxis(summed, 0, axis)
    return values


def strided(gaps: Array, stride: list[int], sizes: tuple[int, ...], transposed: bool = False) -> Array:
    """Return the gaps by the lags of the outcome: of `stride` steps in the input, or of a fraction of one."""
    for axis, (step, n) in enumerate(zip(stride, sizes, strict=True)):
        lags = np.arange(n)
        source = lags // step if transposed else lags * step
        gaps = np.take(gaps, np.minimum(source, gaps.shape[axis] - 1), axis=axis)
    return gaps


def products(by_lag: Array, windows: list[Window]) -> Array:
    """Return the mean product of two windows by their lag, from those of positions."""
    return along(by_lag, [_lags(w) for w in windows])


def averaged(m: Moments, windows: list[Window]) -> Moments:
    """Return the moments of means over windows: of second moment by what two positions have in common.

    What of d are lengths that differ goes as the second moment does, as far as these differ in all places alike.
    """
    assert m.field is not None
    old, tables = m.field, [_lags(w) for w in windows]
    within, across = (along(1 - gap, tables) for gap in (old.within, old.across))
    scale, here = max(float(within.flat[0]), 1e-300), float(old.across.flat[0])
    own, inside = [_own(w) for w in windows], along(np.ones(old.sizes), [_places(w) for w in windows])
    each = along(1 - old.within, own)  # at a border of fewer places, or of some beside zeros
    level = float(each.mean())
    apart = max(float(along(old.across - old.within, own).mean()), 0.0)
    known = old.in_all if _share_out(windows) and all(w.out == 1 for w in windows) else None
    if known is not None:
        level, apart = max(known[0], 0.0), max(known[0] - known[1], 0.0)
    kept = apart / here if here > 0 else level
    share = along(old.share, [_places(w) for w in windows]) / np.maximum(inside, 1e-300) * each
    m = replace(m, mean=m.mean * float(inside.mean()))
    within, across = (np.maximum(1 - product / scale, 0.0) for product in (within, across))
    root = along(np.sqrt(old.varying), tables)  # beside their size products of sums vary as before
    varied = old.varied * (root / max(float(root.flat[0]), 1e-300)) ** 2
    parted = old.parted and old.parted.through(lambda by_lag: along(by_lag, tables), _laid_out(old, windows))
    share = share / max(float(share.mean()), 1e-300)
    whole = old.in_all if level > 0 and _share_out(windows) else None
    in_all = whole and (whole[0] / level, whole[1] / level)
    field = Field(share, within, across, varied, given=old.given, parted=parted, in_all=in_all)
    means = old.gram and old.gram.averaged(_of_all_axes(windows))
    if known is None and old.gram is not None and means is not None and means.level > 0:
        return _averaged_pairs(replace(m, field=field, unit_variance=0.0), old.gram, means)
    std = np.sqrt(m.q)
    of_lengths = (std[:, None] - std) ** 2 / 2
    if parted:
        of_lengths = of_lengths + parted.of_lengths(m.q)
    of_lengths = np.minimum(of_lengths, m.d)
    d = (m.d - of_lengths) * kept + of_lengths * level
    return replace(m, q=m.q * level, d=d, field=field, unit_variance=0.0)


def _share_out(windows: list[Window]) -> bool:
    """Whether each position is in one window, and all windows have as many."""
    return all(w.kernel * w.out == w.size and w.stride == w.kernel and not w.padding for w in windows)


def _averaged_pairs(m: Moments, gram: Gram, means: Gram) -> Moments:
    """Return the moments of means over windows where the products of all pairs of places, and of means, are known.

    As the pairs say of each two examples, where they are those that are followed, else of all on average.
    """
    assert m.field is not None
    r = len(m.q)
    if gram.whole and gram.batch == r:
        q, d = means.squares[0].mean(1), means.apart[0]
    else:
        q, d = np.full(r, means.level), means.gap * (1 - np.eye(r))
    typical = math.exp(-gram.varied / 2) if m.field.count == 1 else 1.0
    here = typical * float(m.d.sum()) / max(r * (r - 1), 1)
    q, d = q * float(m.q.mean()) / gram.level, d * (here / gram.gap if gram.gap > 0 else 1.0)
    field = replace(m.field, gram=means.relative() if m.field.count > 1 else None)
    return replace(m, q=q, d=d, field=field)


def _of_all_axes(windows: list[Window]) -> Array:
    """Return the share of each place in each window's mean, over all axes, [windows, places]."""
    found = np.ones((1, 1))
    for window in windows:
        found = np.asarray(np.kron(found, _places(window).toarray()), dtype=np.float64)
    return found


def _laid_out(field: Field, windows: list[Window]) -> Array | None:
    """Return how much examples differ in each window's mean, relative to all, as they do at its places."""
    if field.parted is None or field.parted.layout is None:
        return None
    layout = along(field.parted.layout, [_places(w) for w in windows])
    return layout / max(float(layout.mean()), 1e-300)


def spread_lags(by_lag: Array, windows: list[Window]) -> Array:
    """Return by lags of positions what their windows have by theirs."""
    return along(by_lag, [_back(w) for w in windows])


def spread_back(m: Moments, windows: list[Window]) -> Moments:
    """Return the moments of a gradient that each window shares out among its positions."""
    assert m.field is not None
    level = 1.0
    for axis, w in enumerate(windows):
        met = w.kernel * w.out / w.size
        next_one = float(np.take(m.field.within, min(1, w.out - 1), axis=axis).flat[0]) if w.out > 1 else 0.0
        level *= met * (1 + max(met - 1, 0.0) * (1 - next_one)) / w.kernel**2
    within, across = (spread_lags(gap, windows) for gap in (m.field.within, m.field.across))
    within.flat[0] = 0.0
    in_all = m.field.in_all if _share_out(windows) else None
    field = Field(np.ones(within.shape), within, across, m.field.varied, in_all=in_all)
    return replace(m, mean=m.mean / math.prod(w.kernel for w in windows), q=m.q * level, d=m.d * level, field=field)
