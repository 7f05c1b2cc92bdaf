"""How often two places have the same label, by how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lags import autocorrelation
from .values import Array

ENTRIES = 1 << 22  # of one-hot labels whose lags are taken by Fourier transforms
AT_ONCE = 1 << 20
EXAMPLES = 16  # whose labels are compared one by one, each with its own and with those of so many others
OTHERS = 3


@dataclass(frozen=True, slots=True)
class Coincidences:
    """Means over pairs of places by lag, of one example (`own`) and of two (`other`), [2, *lags].

    First the product of the two places' weights, then the same where their labels are equal and 0 where they are not.
    """

    own: Array
    other: Array

    @property
    def chances(self) -> tuple[Array, Array]:
        """The weighted share of pairs whose labels are equal, of one example and of two."""
        own, other = (np.clip(same / np.where(all_ > 0, all_, 1.0), 0.0, 1.0) for all_, same in (self.own, self.other))
        return own, other


def coincidences(labels: Array, weights: Array) -> Coincidences:
    """Return how often labels [examples, *positions] of these weights are equal; there may be no positions."""
    sizes = labels.shape[1:]
    y, w = (x.reshape(*x.shape, *() if sizes else (1,)) for x in (labels, weights))
    kinds, counts = np.unique(y[w > 0], return_counts=True)
    if y.ndim == 2 and len(kinds) * y.size > ENTRIES:
        found = _one_by_one(y, w)
    else:
        most = max(ENTRIES // (y[0].size * 2 ** (y.ndim - 1)), 1)
        step = max(-(-len(y) // max(most // max(len(kinds), 1), 2)), 1)
        found = _by_transforms(y[::step], w[::step], kinds[np.argsort(-counts)][:most])
    own, other = (np.maximum(x, 0.0).reshape(2, *sizes) for x in found)
    return Coincidences(own, other)


def _by_transforms(y: Array, w: Array, kinds: Array) -> tuple[Array, Array]:
    """Return what places have in common, the sum over labels of products of what has this one."""
    both = [np.stack(products(w[..., None]))]
    chunk = max(AT_ONCE // y.size, 1)
    of_labels = np.zeros_like(both[0])
    for start in range(0, len(kinds), chunk):
        some = kinds[start : start + chunk]
        of_labels += len(some) * np.stack(products(np.where(y[..., None] == some, w[..., None], 0.0)))
    own, other = np.stack([both[0], of_labels], axis=1)
    return own, other


def products(values: Array) -> tuple[Array, Array]:
    """Return the mean product by lag of the places of an example, and of two: [examples, *positions, features]."""
    examples, sizes = len(values), values.shape[1:-1]
    own = autocorrelation(values, sizes).sum(0)
    whole = autocorrelation(values.sum(0, keepdims=True), sizes)[0]
    return own / examples, (whole - own) / max(examples * (examples - 1), 1)


def _one_by_one(y: Array, w: Array) -> tuple[Array, Array]:
    """Return the same along one axis, where labels are too many: each place beside those that come after it."""
    step = max(len(y) // EXAMPLES, 1)
    y, w = y[::step], w[::step]
    shifts = range(1, min(OTHERS, len(y) - 1) + 1)
    own = _beside(y, w, y, w)
    others = [_beside(y, w, np.roll(y, k, axis=0), np.roll(w, k, axis=0)) for k in shifts]
    return own, np.mean(others, axis=0) if others else np.zeros_like(own)


def _beside(y: Array, w: Array, z: Array, v: Array) -> Array:
    """Return mean products of weights at each lag, all and where labels are equal, [2, lags]."""
    count = y.shape[1]
    found = np.empty((2, count))
    for lag in range(count):
        both = w[:, : count - lag] * v[:, lag:]
        found[:, lag] = both.mean(), both[y[:, : count - lag] == z[:, lag:]].sum() / both.size
    return found
