"""Sources that met the same weights, drawn together: two views of one image through one network.

Sources are drawn one after the other, each as a sum over normals of its own and those of the ones before it,

    ξ_j = Σ_{i≤j} L_ji n_i,   Σ_i L_ji L_ki^T = Cov(ξ_j, ξ_k),

a block Cholesky factor over examples, of what kinship says that two of them have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from .batch import Batch
from .source import Source
from .values import Array

Rows: TypeAlias = tuple[tuple[int, Array], ...]
Shape: TypeAlias = tuple[tuple[int, ...], int]
LEAST = 1e-3  # correlations below which two sources count as independent: beside the error of 512 draws, 0.04, nothing
MOST = 16  # sources that another one is drawn beside


@dataclass(slots=True)
class Seeds:
    """A seed for each source and gradient that is drawn, kept by identity, and how sources hang together."""

    known: dict[int, tuple[Any, int]] = field(default_factory=dict)
    kin: Callable[[Source, Source], tuple[float, float]] | None = None
    _rows: dict[int, Rows] = field(default_factory=dict)
    _drawn: list[tuple[Source, int, Shape]] = field(default_factory=list)

    def of(self, drawn: Any) -> int:
        """Return the seed of an object, a new one where it was not drawn yet."""
        return self.known.setdefault(id(drawn), (drawn, len(self.known)))[1]

    def rows(self, source: Source, drawn: Any, shape: Shape, batch: Batch) -> Rows:
        """Return seeds of normals, and by what each of them is multiplied, [examples, examples].

        `drawn` is what the source is known by, `shape` its positions and features: those of others do not meet it.
        """
        seed = self.of(drawn)
        if seed not in self._rows:
            self._rows[seed] = self._joined(source, seed, shape, batch)
            self._drawn.append((source, seed, shape))
        return self._rows[seed]

    def _joined(self, source: Source, seed: int, shape: Shape, batch: Batch) -> Rows:
        own = 1 - batch.of_all(source.gap)
        before = [(other, at) for other, at, of in self._drawn[-MOST:] if of == shape]
        kin = [(other, at, self.kin(source, other)) for other, at in before] if self.kin else []
        if all(max(map(abs, met)) < LEAST for _, _, met in kin):
            return ((seed, root(own)),)
        found: dict[int, Array] = {}
        for other, at, met in kin:
            left = _between(met, 1 - batch.of_all(other.gap)) - _product(found, dict(self._rows[at]), without=at)
            found[at] = left @ np.linalg.pinv(dict(self._rows[at])[at], rcond=1e-6).T
        found[seed] = root(own - _product(found, found))
        sizes = np.sqrt(np.diag(_product(found, found)) / np.diag(own))  # one that no such root has is cut down to size
        return tuple((at, x / sizes[:, None]) for at, x in found.items())


def _between(met: tuple[float, float], own: Array) -> Array:
    """Return what examples of two sources have in common: of one and the same, and of two, on average.

    Two examples that are near each other in the one source are in both.
    """
    (same, other), examples = met, len(own)
    apart = (own.sum() - np.trace(own)) / max(examples * (examples - 1), 1)
    slope = (same - other) / (1 - apart) if apart < 1 - LEAST else 0.0
    return np.asarray(other + slope * (own - apart)) if slope else np.full(own.shape, same)


def _product(a: dict[int, Array], b: dict[int, Array], without: int | None = None) -> Array:
    """Return what sums over the same normals have in common."""
    shared = [a[at] @ b[at].T for at in a if at in b and at != without]
    return np.sum(shared, axis=0) if shared else np.zeros(())


def root(covariance: Array) -> Array:
    """Return a root of a covariance; what is negative in it is nothing."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
