"""Known linear maps along the axes of positions: y_o = Σ_p A_op x_p, as interpolation, reflection and running sums are.

With R(l) the product of two positions at lag l, and everything taken as a function of lags alone,

    E[y_o y_o'] = Σ_pp' A_op A_o'p' R(|p - p'|),

so a table [lags of the outcome, lags of the input] for each axis is all that is needed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .field import Array, Field
from .values import Moments

TINY = 1e-300


def lag_table(matrix: Array) -> Array:
    """Return [lags of outcomes, lags of positions]: Σ A_op A_o'p' over positions that far apart, mean over outcomes.

    The autocorrelation of the matrix along both of its axes, by Fourier transform.

    >>> lag_table(np.eye(3)).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    outs, places = matrix.shape
    f = np.fft.rfft2(matrix, s=(2 * outs, 2 * places))
    both = np.fft.irfft2((f * f.conj()).real, s=(2 * outs, 2 * places))[:outs]
    return np.asarray(_folded(both, places) / (outs - np.arange(outs))[:, None])


def place_table(matrix: Array) -> Array:
    """Return [outcomes, lags of positions]: Σ A_op A_op' over positions that far apart."""
    places = matrix.shape[1]
    f = np.fft.rfft(matrix, n=2 * places, axis=1)
    return _folded(np.fft.irfft((f * f.conj()).real, n=2 * places, axis=1), places)


def _folded(both: Array, places: int) -> Array:
    """Lags to either side are one: of the length they have."""
    near, far = both[:, :places], both[:, :places:-1]
    return np.asarray(np.concatenate([near[:, :1], near[:, 1:] + far], axis=1))


def along(values: Array, tables: list[Array]) -> Array:
    """Return values with a matrix applied to each axis."""
    for axis, table in enumerate(tables):
        values = np.moveaxis(np.tensordot(table, values, axes=(1, axis)), 0, axis)
    return values


def mapped(m: Moments, matrices: list[Array]) -> Moments:
    """Return the moments behind a map of each axis of the positions, [outcomes, positions]."""
    assert m.field is not None
    tables = [lag_table(a) for a in matrices]
    within, across = (along(1 - gap, tables) for gap in (m.field.within, m.field.across))
    level, here = float(within.flat[0]), float(m.field.across.flat[0])
    apart = max(float(along(m.field.across - m.field.within, tables).flat[0]), 0.0)
    scale = max(level, TINY)
    share = _share(m.field, matrices)
    size = float(share.mean())
    gaps = (np.clip(1 - p / scale, 0.0, 2.0) for p in (within, across))
    field = Field(share / max(size, TINY), *gaps)
    mean = m.mean * math.prod(float(a.sum(1).mean()) for a in matrices)
    kept = size * apart / here / scale if here > 0 else size
    return replace(m, mean=mean, q=m.q * size, d=m.d * kept, field=field, unit_variance=0.0, excess=0.0)


def _share(field: Field, matrices: list[Array]) -> Array:
    """Return the second moment of each outcome, relative to the mean one of the positions that it is made of."""
    own = along(1 - field.within, [place_table(a) for a in matrices])
    met = along(field.share, [np.abs(a) / np.maximum(np.abs(a).sum(1, keepdims=True), TINY) for a in matrices])
    return np.asarray(np.maximum(own, 0.0) * met)
