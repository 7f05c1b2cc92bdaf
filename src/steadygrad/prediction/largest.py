"""The largest of some correlated positions: drawn, with what the draws say of it on the nodes of a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from . import hermite
from .field import Array
from .propagation import centred
from .source import Wave
from .windows import Window

SAMPLES = 1 << 13
MOST = 64  # positions of a window: of more, as many that are as far apart
BINS = 64
PER_WINDOW = 64  # draws a window, below which windows are taken as alike


@dataclass(frozen=True, slots=True)
class Largest:
    """values: [nodes], the largest as a monotone function of a standard normal; gap: 1 - corr of those normals for
    two distinct examples; chances: [nodes], that a position with this value is the one; share: [windows along each
    axis], second moment relative to its mean.
    """

    values: Array
    gap: float
    chances: Array
    share: Array


def drawn_largest(wave: Wave, windows: list[Window], shape: tuple[int, ...]) -> Largest:
    """Return the largest of f(z) over a window, for two distinct examples that are jointly Gaussian."""
    assert wave.source is not None
    root, places = _root(wave, windows, shape)
    rng = np.random.default_rng(0)
    shares = _shares(wave, windows, shape, places)
    at = np.arange(SAMPLES) % len(shares)
    z = (rng.standard_normal((SAMPLES, len(root))) @ root.T).reshape(SAMPLES, 2, -1) * shares[at, None] ** 0.5
    f = np.where(shares[at, None] > 0, np.interp(z, hermite.tables()[0], wave.values.mean(0)), -np.inf)
    best = f.argmax(2)
    top = np.take_along_axis(f, best[..., None], 2)[..., 0]
    values = np.quantile(top, ndtr(hermite.tables()[0]))
    share = _mean_by(at, (top**2).mean(1), len(shares)).reshape([w.out for w in windows])
    return Largest(values, _gap(top), _chances(z, best), share / max(share.mean(), 1e-300))


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
    if len(where) > SAMPLES // PER_WINDOW or (inside.all() and not np.ptp(share)):
        return np.ones(inside.shape)
    found = share[tuple(np.clip(where, 0, np.array(shape) - 1).transpose(2, 0, 1))]
    return np.where(inside, np.maximum(found, 1e-12), 0.0)


def _mean_by(at: NDArray[np.intp], values: Array, count: int) -> Array:
    return np.asarray(np.bincount(at, values, count) / np.maximum(np.bincount(at, minlength=count), 1))


def _root(wave: Wave, windows: list[Window], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return a root of the covariance of the positions of a window, for two examples, and their offsets."""
    assert wave.source is not None
    field = centred(wave.source)
    gaps = [np.asarray(gap).reshape(shape) for gap in (field.within, field.across)]
    places = np.stack(np.meshgrid(*(np.arange(min(w.kernel, w.size)) for w in windows), indexing="ij"), -1)
    places = places.reshape(-1, len(windows))
    places = places[np.linspace(0, len(places) - 1, min(len(places), MOST)).astype(int)]
    lag = tuple(np.abs(places[:, None] - places[None]).transpose(2, 0, 1))
    own, other = (1 - gap[lag] for gap in gaps)
    power, vectors = np.linalg.eigh(np.block([[own, other], [other, own]]))
    root = vectors * np.sqrt(np.maximum(power, 0.0))
    return root / np.sqrt(np.maximum((root**2).sum(1, keepdims=True), 1e-300)), places


def _gap(top: Array) -> float:
    """Return 1 - corr of the normal scores of two examples."""
    order = np.argsort(np.argsort(top.ravel())).reshape(top.shape)
    scores = np.interp((order + 0.5) / top.size, ndtr(hermite.tables()[0]), hermite.tables()[0])
    return float(((scores[:, 0] - scores[:, 1]) ** 2).mean() / 2)


def _chances(z: Array, best: NDArray[np.intp]) -> Array:
    """Return how often a position is the largest, by its value."""
    won = np.zeros(z.shape, dtype=bool)
    np.put_along_axis(won, best[..., None], True, 2)
    edges = np.quantile(z, np.linspace(0, 1, BINS + 1))
    at = np.clip(np.searchsorted(edges, z.ravel()) - 1, 0, BINS - 1)
    held = np.bincount(at, minlength=BINS)
    chance = np.bincount(at, won.ravel(), minlength=BINS) / np.maximum(held, 1)
    centre = np.bincount(at, z.ravel(), minlength=BINS) / np.maximum(held, 1)
    return np.asarray(np.interp(hermite.tables()[0], centre, chance))
