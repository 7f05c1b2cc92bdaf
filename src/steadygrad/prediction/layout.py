"""Where in a field examples differ: 1 - c of two examples at each place, as windows and functions make it.

A place near a border of zeros, or of images that are alike there, has another second moment and another 1 - c than the
middle. Windows add products, so differences as well; behind a function f of units of variance s and angle γ at a place,
with coefficients a_n(s) of f(√s z),

    d = Σ a_n(s)² (1 - (1 - γ)^n),   q = Σ a_n(s)².

Approximate: of large grids, of which borders are a small part, all places count as alike.
"""

from __future__ import annotations

import numpy as np

from .decays import decayed
from .hermite import expand, tables
from .lags import MOST
from .values import Array

LEVELS = 9  # of the second moment, between which d and q are taken along a line


def behind(share: Array, gaps: Array, gap: float, values: Array, mean: float) -> tuple[float, Array] | None:
    """Return by how much 1 - c behind a function is larger than it is where all are alike, and that of each place.

    Args:
        share: [*positions], second moment of the units, relative to its mean.
        gaps: [*positions], γ of the units.
        gap: γ where all are alike.
        values: of the function on the nodes, [nodes].
        mean: the share that the units' squared mean has in their second moment.
    """
    if share.size > MOST:
        return None
    levels = np.linspace(share.min(), share.max(), LEVELS) if np.ptp(share) > 0 else np.ones(1)
    scales = np.sqrt(np.maximum(levels - mean, 0.0) / max(1 - mean, 1e-300))
    nodes = tables()[0]
    f = expand(np.array([np.interp(nodes * s, nodes, values) for s in (1.0, *scales)]))
    masses = f.plain**2
    alike = float(decayed(np.array([gap]), masses[0])[0] / masses[0].sum())
    place = np.clip((share - levels[0]) / max(levels[-1] - levels[0], 1e-300) * (len(levels) - 1), 0, len(levels) - 1)
    d = _between(np.array([decayed(gaps, row) for row in masses[1:]]), place)
    q = _between(np.broadcast_to(f.q[1:].reshape(-1, *[1] * share.ndim), (len(levels), *share.shape)), place)
    whole = float(q.mean())
    if not (alike > 0 and whole > 0):
        return None
    return float(d.mean()) / whole / alike, d / np.maximum(q, 1e-300)


def _between(of_levels: Array, place: Array) -> Array:
    """Return for each position what lies between two levels, [levels, *positions], along a line."""
    below = np.minimum(place.astype(np.intp), max(len(of_levels) - 2, 0))
    low = np.take_along_axis(of_levels, below[None], axis=0)[0]
    high = np.take_along_axis(of_levels, np.minimum(below + 1, len(of_levels) - 1)[None], axis=0)[0]
    return np.asarray(low + (place - below) * (high - low))
