"""What places of drawn examples have in common: of an example by their lag, and of two by theirs.

Two places of one example are alike as `own` says, of two as `other`, so for B examples that are alike their mean has
the covariance other + (own - other)/B over places, and what an example is off it own - other. Where examples share a
bias, or the mean of a function, other is large at all lags and what differs is as local as the data are: the largest
of many places is then nearly one number for all examples, though at each place they differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .batch import Batch
from .field import Field
from .kin_draws import root
from .propagation import centred
from .source import Source
from .values import Array

MOST_PLACES = 1 << 10  # positions whose correlation is drawn by lag; of more any two have in common what all have
NOTHING = 1e-9  # of a variance: examples that differ by less are alike


@dataclass(frozen=True, slots=True)
class Among:
    """How normals that are independent over places are mixed: what examples have in common, and what each is off it.

    `roots`: of both the symmetric root of the correlation of places, [places, places]; `alike`: where there are too
    many places, what any two of both have in common. `sizes`: [places], the deviation at each place.
    """

    sizes: Array
    roots: tuple[Array, Array] | None = None
    alike: tuple[float, float] | None = None

    def mixed(self, normal: Array) -> Array:
        """Return normals, [draws, examples, places, features], with what their places have in common.

        Where places have one number in common its normals come first.
        """
        mean = normal.mean(1, keepdims=True)
        whole = self._over_places(mean, 0) + self._over_places(normal - mean, 1)
        return np.asarray(whole * self.sizes[:, None])

    def _over_places(self, normal: Array, which: int) -> Array:
        if self.alike is not None:
            alike = self.alike[which]
            return np.asarray(math.sqrt(alike) * normal[:, :, :1] + math.sqrt(1 - alike) * normal[:, :, 1:])
        assert self.roots is not None
        return np.asarray(np.einsum("pq,siqf->sipf", self.roots[which], normal, optimize=True))


def among(source: Source, places: tuple[int, ...], batch: Batch) -> Among | None:
    """Return how places of a source are drawn; None where they are taken as independent."""
    found: Field | None = source.field
    if found is None or not places or math.prod(places) != found.count:
        return None
    (own, other), examples = centred(source).correlations, len(source.gap) if not batch.each_drawn else batch.size
    mean = other + (own - other) / examples
    apart = own - other if (own - other).flat[0] > NOTHING else mean
    kinds = [x / max(float(x.flat[0]), NOTHING) for x in (mean, apart)]
    sizes = np.sqrt(np.maximum(found.share.ravel(), 0.0))
    if found.count > MOST_PLACES:
        alike = [float(np.clip(_of_distinct(found, x), 0.0, 1.0)) for x in kinds]
        return Among(np.ones(found.count), alike=(alike[0], alike[1]))
    at = np.stack(np.unravel_index(np.arange(found.count), found.sizes))
    lags = tuple(np.abs(at[:, :, None] - at[:, None]))
    roots = [_symmetric_root(x[lags]) for x in kinds]
    return Among(sizes, roots=(roots[0], roots[1]))


def _of_distinct(field: Field, by_lag: Array) -> float:
    """Return the mean over pairs of distinct places."""
    own = 1 / field.count
    return (float((field.weights * by_lag).sum()) - own * float(by_lag.flat[0])) / (1 - own)


def _symmetric_root(covariance: Array) -> Array:
    """Return the symmetric root of a correlation, of the nearest that has one; it mixes places least."""
    half = root(covariance)
    values, vectors = np.linalg.eigh(half @ half.T)
    found = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(found / np.sqrt(np.maximum((found**2).sum(1, keepdims=True), NOTHING)))
