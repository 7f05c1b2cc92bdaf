"""The largest of some correlated positions: drawn, with what the draws say of it on the nodes of a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from . import hermite
from .decays import GRID, decay_on_grid
from .field import Array
from .propagation import centred
from .source import Wave
from .windows import Window

SAMPLES, FEWEST = 1 << 13, 1 << 9
MOST = 1 << 10  # positions of a window: of more, as many that are as far apart
ENTRIES = SAMPLES * 64  # that are drawn of an example
BINS = 64
ALIKE = 0.05  # mean correlation of two examples' positions from which draws of both tell what the largest have
EDGE = 1e-12  # of a uniform number
PER_WINDOW = 64  # draws a window, below which windows are taken as alike


@dataclass(frozen=True, slots=True)
class Largest:
    """What is known of the largest.

    values: [nodes], as a monotone function of a standard normal; kept: what two of those normals have in common, over
    the mean correlation of the positions of two windows (above 1 where these are hardly alike); chances: [nodes], that
    a position with this value is the one; share: [windows along each axis], second moment relative to its mean.
    """

    values: Array
    kept: float
    chances: Array
    share: Array


def drawn_largest(wave: Wave, windows: list[Window], shape: tuple[int, ...]) -> Largest:
    """Return the largest of f(z) over a window, for two distinct examples that are jointly Gaussian.

    Of the largest two windows have in common, to first order in the products C_pq of their positions,
    (E[f'(z_p) 1_p])² Σ C_pq, 1_p that p is the largest. So in place of C_pq all that counts is their mean C, and as a
    function of a normal the largest has c = kept C: as drawn for two examples at one place where these have anything in
    common, else with the slope of the largest in the mean of the positions, by Stein's identity, over its own. Within
    1% of what draws of equally correlated positions have.
    """
    assert wave.source is not None
    roots, places, mean = _roots(wave, windows, shape)
    shares, count = _shares(wave, windows, shape, places), len(places)
    draws = min(max(ENTRIES // count, FEWEST), SAMPLES)
    at = np.arange(draws) * len(shares) // draws  # of a Sobol sequence runs are even, and every nth is not
    normal = _normals(2 * count, draws)
    both, differing = normal[:, :count] @ roots[0], normal[:, count:] @ roots[1]
    z = np.stack([both + differing, both - differing], 1) * shares[at, None] ** 0.5
    f = np.where(shares[at, None] > 0, np.interp(z, hermite.tables()[0], wave.values.mean(0)), -np.inf)
    best = f.argmax(2)
    top = np.take_along_axis(f, best[..., None], 2)[..., 0]
    values = np.quantile(top, ndtr(hermite.tables()[0]))
    share = _mean_by(at, (top**2).mean(1), len(shares)).reshape([w.out for w in windows])
    own, other = mean
    kept = (1 - _gap(top, values)) / other if other > ALIKE else _slope(z, shares[at, None] > 0, top, values) / own
    return Largest(values, kept, _chances(z, best), share / max(share.mean(), 1e-300))


def _normals(count: int, draws: int) -> Array:
    """Return normal numbers, [draws, count], evenly spread."""
    uniform = torch.quasirandom.SobolEngine(count, scramble=True, seed=0).draw(draws, dtype=torch.float64)
    return np.asarray(ndtri(uniform.clamp(EDGE, 1 - EDGE).numpy()))


def _gap(top: Array, values: Array) -> float:
    """Return 1 - corr of the normals of which a function has these values, that differ as these two examples do."""
    h = hermite.expand(values[None])
    lost = np.maximum.accumulate(decay_on_grid() @ h.plain[0] ** 2)
    return float(np.interp(((top[:, 0] - top[:, 1]) ** 2).mean() / 2, lost, GRID))


def _slope(z: Array, inside: NDArray[np.bool_], top: Array, values: Array) -> float:
    """Return what normals of one window have of the mean position: its share of them, by the slope of the largest."""
    mean = (z * inside).sum(2) / np.maximum(inside.sum(2), 1)
    square, own = float((mean * mean).mean()), float(hermite.expand(values[None]).plain[0, 1])
    return float((top * mean).mean() / own) ** 2 / square if square > 0 and own != 0 else 1.0


def _shares(wave: Wave, windows: list[Window], shape: tuple[int, ...], places: Array) -> Array:
    """Return the second moments of a window's positions, [windows, positions], 0 in the padding.

    Where there are too many windows to draw each of them, they are taken as alike.
    """
    assert wave.source is not None
    assert wave.source.field is not None
    share = wave.source.field.share.reshape(shape)
    starts = np.stack(np.meshgrid(*(w.stride * np.arange(w.out) - w.padding for w in windows), indexing="ij"), -1)
    where = starts.reshape(-1, 1, len(windows)) + places
    inside = ((where >= 0) & (where < shape)).all(-1)
    if len(where) * PER_WINDOW > SAMPLES or (inside.all() and not np.ptp(share)):
        return np.ones(inside.shape)
    found = share[tuple(np.clip(where, 0, np.array(shape) - 1).transpose(2, 0, 1))]
    return np.where(inside, np.maximum(found, 1e-12), 0.0)


def _mean_by(at: NDArray[np.intp], values: Array, count: int) -> Array:
    return np.asarray(np.bincount(at, values, count) / np.maximum(np.bincount(at, minlength=count), 1))


def _roots(
    wave: Wave, windows: list[Window], shape: tuple[int, ...]
) -> tuple[tuple[Array, Array], Array, tuple[float, float]]:
    """Return roots of the covariances of positions of a window: of half the sum, and the difference, of two examples.

    And their offsets, and the mean correlation of two positions of an example, and of two.
    """
    assert wave.source is not None
    alike = [x.reshape(shape) for x in centred(wave.source).correlations]
    places = np.stack(np.meshgrid(*(np.arange(min(w.kernel, w.size)) for w in windows), indexing="ij"), -1)
    places = places.reshape(-1, len(windows))
    places = places[np.linspace(0, len(places) - 1, min(len(places), MOST)).astype(int)]
    lag = tuple(np.abs(places[:, None] - places[None]).transpose(2, 0, 1))
    own, other = (x[lag] for x in alike)
    roots = [_root((own + sign * other) / 2) for sign in (1, -1)]
    size = np.sqrt(np.maximum(sum((root**2).sum(0) for root in roots), 1e-300))
    return (roots[0] / size, roots[1] / size), places, (float(own.mean()), float(other.mean()))


def _root(covariance: Array) -> Array:
    power, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(power, 0.0))).T)


def _chances(z: Array, best: NDArray[np.intp]) -> Array:
    """Return how often a position is the largest, by its value: in bins that hold as many, and as many of the largest.

    Those lie where hardly any of all are, and that is where a function behind which they are taken is met.
    """
    won = np.zeros(z.shape, dtype=bool)
    np.put_along_axis(won, best[..., None], True, 2)
    evenly = np.linspace(0, 1, BINS + 1)
    edges = np.unique(np.concatenate([np.quantile(z, evenly), np.quantile(z[won], evenly)]))
    at = np.clip(np.searchsorted(edges, z.ravel()) - 1, 0, len(edges) - 2)
    held = np.bincount(at, minlength=len(edges) - 1)
    chance = np.bincount(at, won.ravel(), minlength=len(held)) / np.maximum(held, 1)
    centre = np.bincount(at, z.ravel(), minlength=len(held)) / np.maximum(held, 1)
    chance, centre = chance[held > 0], centre[held > 0]
    return np.asarray(np.interp(hermite.tables()[0], centre, chance))
