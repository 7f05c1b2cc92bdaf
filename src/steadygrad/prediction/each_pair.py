"""Products of every two places, of an example and of two, where how far they are apart does not tell them.

Under a causal mask the first tokens are means of few, so they are alike, and the first and the last are not:
Σ_r Σ_r' k_rr'/(s t), r up to s and r' up to t, of products k of the values. So it is of two examples: what these have
in common is left in a mean of many, and what each has of its own is not, so late tokens have more in common with those
of another example than early ones. Kept along one axis of up to `MOST` places, [2, places, places], of an example and
of two; of pairs of examples it is the mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .lags import ROUNDING
from .values import Array

if TYPE_CHECKING:
    from .field import Field

MOST = 128  # places
ENTRIES = 1 << 22  # of data whose products are taken: less than a tenth of a second


def known(field: Field) -> Array | None:
    """Return the products of every two places relative to q, [2, places, places]; None where these are too many.

    >>> from .field import white
    >>> known(white((2,), 0.75, 1.0, 0.5))
    array([[[1.  , 0.25],
            [0.25, 1.  ]],
    <BLANKLINE>
           [[0.5 , 0.  ],
            [0.  , 0.5 ]]])
    """
    if field.products is not None:
        return field.products
    if len(field.sizes) != 1 or field.count > MOST:
        return None
    places = np.arange(field.count)
    lags = abs(places[:, None] - places)
    products = np.stack([1 - field.within, 1 - field.across])[:, lags]
    common = field.share if field.common is None else field.common
    if np.ptp(common) > 0:
        laid = np.sqrt(np.outer(common, common))
        products = (
            products * laid / np.array([max(float(np.diagonal(laid, lag).mean()), 1e-300) for lag in places])[lags]
        )
    np.fill_diagonal(products[0], field.share)
    return np.asarray(products)


def of_data(field: Field, values: Array) -> Field:
    """Return the field of data, [examples, *positions, features], with its products; of many entries, of some examples.

    Of few examples of few features the first tokens are alike, or not, by chance: that is then what it is in all draws.
    """
    if len(field.sizes) != 1 or not 1 < field.count <= MOST:
        return field
    values = values[:: max(min(values.size // ENTRIES, len(values) // 2), 1)]
    examples, size = len(values), float((values**2).sum()) / field.count
    own, whole = np.tensordot(values, values, ((0, 2), (0, 2))), values.sum(0)
    two = (whole @ whole.T - own) / (examples - 1) if examples > 1 else own
    return replace(field, products=np.stack([own, two]) / size)


def at_places(field: Field, places: slice, size: int) -> Array | None:
    """Return the products of places that are put at these of a longer axis, zeros at the others, relative to the new q.

    >>> from .field import white
    >>> at_places(white((1,), 0.0, 0.0, 0.5), slice(1, 2, 1), 2)[0].tolist()
    [[0.0, 0.0], [0.0, 2.0]]
    """
    found = known(field) if len(field.sizes) == 1 and size <= MOST else None
    if found is None:
        return None
    whole, at = np.zeros((2, size, size)), np.arange(size)[places][: field.count]
    whole[:, at[:, None], at] = found * size / field.count
    return whole


def told_at(whole: Field, part: Field, first: int) -> Field:
    """Return the field of a part among zeros from some place on with its products, where these are not too many."""
    products = at_places(part, slice(first, first + part.count, 1), whole.count)
    return whole if products is None else told(whole, products)


def mixed(weight: float, one: Field, rest: float, other: Field) -> Array | None:
    """Return the products of a sum of two independent terms; None where lags tell those of both."""
    if one.products is None and other.products is None:
        return None
    a, b = known(one), known(other)
    return None if a is None or b is None or a.shape != b.shape else weight * a + rest * b


def met_by(one: Field, other: Field) -> Array | None:
    """Return the products of a product of two factors, relative to both q; None where lags tell those of both."""
    if one.products is None and other.products is None:
        return None
    a, b = known(one), known(other)
    return None if a is None or b is None or a.shape != b.shape else a * b


def met(one: Field, other: Field) -> Array | None:
    """Return the products of a product of two independent factors; None where lags tell those of both."""
    found = met_by(one, other)
    return None if found is None else np.asarray(found / max(float(np.diagonal(found[0]).mean()), 1e-300))


def times(field: Field, squares: Array, level: float) -> Field:
    """Return the field with each place's square times a number, `level` the mean of that, where products are known."""
    assert field.products is not None
    roots = np.sqrt(squares)
    found = told(field, field.products * np.outer(roots, roots) / level)
    if field.common is None:
        return found
    common = field.common * squares
    return replace(found, common=common / max(float(common.mean()), 1e-300))


def thinned(products: Array | None, left: Array) -> Array | None:
    """Return the products of which so much is left at each lag, [2, *lags], a place's own beside."""
    if products is None:
        return None
    places = np.arange(products.shape[1])
    found = products * left[:, abs(places[:, None] - places)]
    np.fill_diagonal(found[0], np.diagonal(products[0]))
    return np.asarray(found)


def told(field: Field, products: Array) -> Field:
    """Return the field with these products, and what they are on average at each lag."""
    at = range(products.shape[1])
    within, across = 1 - np.array([np.diagonal(products, lag, 1, 2).mean(1) for lag in at]).T
    within[0] = 0.0
    within, across, share = np.clip(within, 0.0, 2.0), np.clip(across, 0.0, 2.0), np.diagonal(products[0])
    field = replace(field, share=share / share.mean(), within=within, across=across, in_all=None)
    return replace(field, products=products, gram=None)


def of_equal(products: Array | None, factor: float) -> Array | None:
    """Return the products of places that are divided by their deviations, the second moment so many variances.

    A place of no length has nothing in common with others.

    >>> of_equal(np.array([[[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]] * 2), 1.0)[0].tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if products is None:
        return None
    products = 1 - (1 - products) * factor
    squares = np.diagonal(products[0])
    inverse = np.where(squares > ROUNDING, np.maximum(squares, ROUNDING) ** -0.5, 0.0)
    found = products * np.outer(inverse, inverse)
    np.fill_diagonal(found[0], 1.0)
    return np.asarray(found)


def of_first(products: Array) -> tuple[Array, Array]:
    """Return of the first t places, t = 1 to all, the mean square and the mean product of two distinct ones.

    >>> of_first(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 1.0]]))[1].round(2).tolist()
    [0.0, 0.5, 0.2]
    """
    n = np.arange(1, len(products) + 1)
    whole = np.diagonal(products.cumsum(0).cumsum(1))
    own = np.diagonal(products).cumsum()
    return own / n, (whole - own) / np.maximum(n * (n - 1), 1)


def handed(products: Array, collision: Array, sharp: float, of_one: Array | None = None) -> Array:
    """Return the products of Σ_t p_ts g_t of every two keys s under a causal mask, given those of what queries t have.

    Of one query E[p_s²] is `collision`/n at each of its n keys, and what that leaves of (Σ p)² = 1 falls to each two of
    them; of two queries E[p_s p'_s'] is `sharp`/(n n'). `of_one` stands for `collision` at a key itself.

    >>> handed(np.eye(2), np.array([1.0, 0.5]), 1.0).tolist()
    [[1.25, 0.25], [0.25, 0.25]]
    """
    keys, share = np.arange(1, len(products) + 1), np.diagonal(products)
    weights, alone = np.tri(len(keys)) / keys[:, None], collision if of_one is None else of_one
    later = (share * (1 - collision) / keys / np.maximum(keys - 1, 1))[::-1].cumsum()[::-1]
    found = later[np.maximum.outer(keys, keys) - 1]
    np.fill_diagonal(found, (share * alone / keys)[::-1].cumsum()[::-1])
    return np.asarray(found + sharp * weights.T @ (products - np.diag(share)) @ weights)


def of_means(products: Array) -> Array:
    """Return the products of the means of the first s and of the first t places."""
    n = np.arange(1, products.shape[-1] + 1)
    return np.asarray(products.cumsum(-2).cumsum(-1) / (n[:, None] * n))
