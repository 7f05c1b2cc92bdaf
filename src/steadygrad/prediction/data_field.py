"""The field of data: how their positions differ, as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import gram, parting_of_places
from .field import Array, Field
from .lags import autocorrelation
from .spread import CERTAIN

MOST_ROWS = 512  # of data that are compared with each other
MOST = 1 << 22  # entries of data whose lags are looked at: half a second, and 256 MB


def of_data(values: Array) -> Field:
    """Return the field of data, [examples, *positions, features]; of many entries, from some of the examples."""
    pairs = gram.of_data(values)
    values = values[:: max(min(values.size // MOST, len(values) // 2), 1)]
    sizes = values.shape[1:-1]
    q = max(float((values**2).mean()), 1e-300)
    share = (values**2).mean((0, -1)) / q
    own = autocorrelation(values, sizes)
    whole = autocorrelation(values.sum(0, keepdims=True), sizes)
    examples = len(values)
    within = own.sum(0) / examples / q
    across = (whole[0] - own.sum(0)) / max(examples * (examples - 1), 1) / q
    across = np.maximum(1 - across, 0.0) if examples > 1 else 1 - within
    found = Field(share, np.maximum(1 - within, 0.0), across)
    same = 1 / (examples * found.count)
    expected = (found.overlap_of_all(examples) - same) / max(1 - same, same)
    found = replace(found, lengths=_lengths(values, sizes, share * q))
    varied = max(_of_distinct(values.reshape(-1, values.shape[-1])) - expected, 0.0)
    apart = values.var(0).mean(-1)
    apart = apart / max(float(apart.mean()), 1e-300)
    parted = parting_of_places.of_data(found.raised(varied), apart, examples)
    return replace(found.raised(varied), given=1.0, parted=parted, of_mean=CERTAIN, gram=pairs)


def _lengths(values: Array, sizes: tuple[int, ...], means: Array) -> Array:
    """Return by lag how the squared lengths of two places of an example vary together, relative to their means."""
    off = (values**2).mean(-1) / np.maximum(means, 1e-300) - 1
    return np.asarray(autocorrelation(off[..., None], sizes).mean(0))


def _of_distinct(rows: Array) -> float:
    """Return the mean squared product of two distinct rows, evenly spaced, relative to their second moment squared."""
    rows = rows[:: -(-len(rows) // MOST_ROWS)]
    squares = (rows @ rows.T / rows.shape[1]) ** 2
    size, count = float((rows * rows).mean()) ** 2, len(rows)
    return float(squares.sum() - np.trace(squares)) / max(count * (count - 1), 1) / max(size, 1e-300)
