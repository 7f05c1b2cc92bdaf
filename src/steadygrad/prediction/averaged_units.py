"""By how much a unit's batch-averaged square varies where means over windows of positions are taken of it.

A mean over a window keeps of the Hermite order n of f(z) the share r_n = mean c^n over the window's pairs of positions:
fewer directions are left than there were positions, and what is left varies as much more. The mean is held as a
function of one Gaussian, E[f] + κ (E[f(ρ z + √(1 - ρ²) ξ) | z] - E[f]), ρ² = r_1, κ such that the second moment is
right: f itself where all positions are alike, and next to a line, as the central limit has it, where few are. Two
windows, or two examples, are correlated as their first orders are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from .batch import Batch
from .field import Field
from .hermite import expand, tables
from .propagation import centred
from .source import Wave, of_fourth_cumulant, sensitivity
from .values import Array
from .windows import Window, products

OWN = 33  # nodes for what a position has of its own


def unit_variance(wave: Wave, windows: list[Window], batch: Batch) -> float | None:
    """Return the relative variance of a unit's mean square over batch and windows; None of what is no such function.

    wave: a function of a source with positions; windows: one for each of their axes.
    """
    source, sizes = wave.source, tuple(w.size for w in windows)
    if source is None or source.field is None or source.field.count != math.prod(sizes):
        return None
    z = _on_grid(centred(source), sizes)
    kept = products(1 - z.within, windows)
    near = float(kept.flat[0])
    if not near > 0:
        return None
    values = _left(wave.values.mean(0), z, windows, min(near, 1.0))
    g = expand(values)
    within, across = (np.clip(1 - products(1 - gap, windows) / near, 0.0, 2.0) for gap in (z.within, z.across))
    left, masses = Field(np.ones(within.shape), within, across, z.varied), g.square[0] ** 2
    masses[0] = 0.0
    whole = left.averaged(left.covariances(masses), batch.size)
    own = float((left.weights * whole).sum()) / max(float(g.q[0]) ** 2, 1e-300)
    # of the mean over a window a bias, which all share, is more
    own += source.fourth / near**2 * of_fourth_cumulant(values)
    s = sensitivity(g)
    own += source.tails * s**2
    return max(own, 0.0) + _drawn(left, z.drawn * (1 - near**2), batch) * source.units * s**2


def _drawn(left: Field, variance: float, batch: Batch) -> float:
    """Return the relative variance of a mean of Gaussians over windows, where products of distinct places vary.

    Of Gaussian units Cov(x x', y y') = E[x y] E[x' y'] + E[x y'] E[x' y], as that of their products over a draw is.
    """
    return 2 * replace(left, beyond=0.0).overlap_of_all(batch.size) * variance


def _on_grid(field: Field, sizes: tuple[int, ...]) -> Field:
    lags = (np.reshape(x, sizes) for x in (field.share, field.within, field.across, field.varying))
    return Field(*lags, given=field.given)


def _left(values: Array, z: Field, windows: list[Window], near: float) -> Array:
    """Return what is left of f as a function of one Gaussian, on the nodes, [1, nodes]; `near` is r_1."""
    nodes, weights = tables()[:2]
    own, w = _nodes()
    smooth = np.interp(math.sqrt(near) * nodes[:, None] + math.sqrt(1 - near) * own, nodes, values) @ w
    masses = expand(values[None]).plain[0] ** 2
    masses[0] = 0.0
    kept = products(z.covariances(masses)[0] * z.deviations, windows)
    mean, varied = float(values @ weights), float((smooth - float(smooth @ weights)) ** 2 @ weights)
    stretch = math.sqrt(max(float(kept.flat[0]), 0.0) / varied) if varied > 0 else 0.0
    return np.asarray(mean + stretch * (smooth - float(smooth @ weights)))[None]


@cache
def _nodes() -> tuple[Array, Array]:
    x, w = np.polynomial.hermite_e.hermegauss(OWN)
    return x, w / w.sum()
