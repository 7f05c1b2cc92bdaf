"""The field of places that were one axis, over the axes that these are: what goes back through a flattened image."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .field import Array, Field, white


def regridded(field: Field, sizes: tuple[int, ...]) -> Field | None:
    """Return a field with its places, in their order, along axes of these sizes; None where there are not as many.

    Two places of one axis that lie l apart lie (l_1, .., l_k) apart on a grid, at whose lags both signs of each l_i
    count alike. From several axes to others lags are not followed: all of them are alike.

    >>> regridded(white((6,), 0.5, 1.0, 1.0), (2, 3)).within.tolist()
    [[0.0, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """
    if field.sizes == sizes:
        return field
    if field.count != int(np.prod(sizes)):
        return None
    share = field.share.reshape(sizes)
    if len(field.sizes) > 1:
        within, across = field.apart()
        return replace(white(sizes, within, across, float(field.across.flat[0]), field.varied), share=share)
    at = _lags(sizes)
    whole = Field(
        share,
        *(_at(x, at) for x in (field.within, field.across, field.varying)),
        given=field.given,
        lengths=_at(field.by_lag, at),
        together=_at(field.drifting, at),
        products=field.products,
        of_mean=field.of_mean,
    )
    means, common = (x if x is None else x.reshape(sizes) for x in (field.means, field.common))
    return replace(whole, means=means, common=common)


def _at(by_lag: Array, at: list[NDArray[np.intp]]) -> Array:
    return np.asarray(np.mean([by_lag[lags] for lags in at], axis=0))


def _lags(sizes: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Return how far two places at each lag of a grid lie apart along one axis, for each choice of signs but one."""
    strides = [int(np.prod(sizes[i + 1 :])) for i in range(len(sizes))]
    along = [stride * each for stride, each in zip(strides, np.indices(sizes), strict=True)]
    signs = itertools.product((1, -1), repeat=len(sizes) - 1)
    return [np.abs(along[0] + sum(s * x for s, x in zip(chosen, along[1:], strict=True))) for chosen in signs]
