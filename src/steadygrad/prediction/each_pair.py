"""Products of every two places of an example, where how far they are apart does not tell them.

Under a causal mask the first tokens are means of few, so they are alike, and the first and the last are not:
Σ_r Σ_r' k_rr'/(s t), r up to s and r' up to t, of products k of the values. Kept along one axis of up to `MOST` places.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .values import Array

if TYPE_CHECKING:
    from .field import Field

MOST = 128  # places


def known(field: Field) -> Array | None:
    """Return the products of every two places relative to q, [places, places]; None where these are too many.

    >>> from .field import white
    >>> known(white((2,), 0.75, 1.0, 1.0))
    array([[1.  , 0.25],
           [0.25, 1.  ]])
    """
    if field.products is not None:
        return field.products
    if len(field.sizes) != 1 or field.count > MOST:
        return None
    places = np.arange(field.count)
    lags = abs(places[:, None] - places)
    products = (1 - field.within)[lags]
    if field.common is not None:
        laid = np.sqrt(np.outer(field.common, field.common))
        products = (
            products * laid / np.array([max(float(np.diagonal(laid, lag).mean()), 1e-300) for lag in places])[lags]
        )
    np.fill_diagonal(products, field.share)
    return np.asarray(products)


def mixed(weight: float, one: Field, rest: float, other: Field) -> Array | None:
    """Return the products of a sum of two independent terms; None where lags tell those of both."""
    if one.products is None and other.products is None:
        return None
    a, b = known(one), known(other)
    return None if a is None or b is None or a.shape != b.shape else weight * a + rest * b


def told(field: Field, products: Array) -> Field:
    """Return the field with these products, and what they are on average at each lag."""
    n = len(products)
    within = np.array([1 - float(np.diagonal(products, lag).mean()) for lag in range(n)])
    within[0] = 0.0
    share = np.diagonal(products)
    return replace(field, share=share / share.mean(), within=np.clip(within, 0.0, 2.0), products=products)


def of_equal(products: Array | None, factor: float) -> Array | None:
    """Return the products of places that are divided by their deviations, the second moment so many variances."""
    if products is None:
        return None
    products = 1 - (1 - products) * factor
    roots = np.sqrt(np.maximum(np.diagonal(products), 1e-300))
    return np.asarray(products / np.outer(roots, roots))


def of_first(products: Array) -> tuple[Array, Array]:
    """Return of the first t places, t = 1 to all, the mean square and the mean product of two distinct ones.

    >>> of_first(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 1.0]]))[1].round(2).tolist()
    [0.0, 0.5, 0.2]
    """
    n = np.arange(1, len(products) + 1)
    whole = np.diagonal(products.cumsum(0).cumsum(1))
    own = np.diagonal(products).cumsum()
    return own / n, (whole - own) / np.maximum(n * (n - 1), 1)


def of_means(products: Array) -> Array:
    """Return the products of the means of the first s and of the first t places."""
    n = np.arange(1, len(products) + 1)
    return np.asarray(products.cumsum(0).cumsum(1) / (n[:, None] * n))
