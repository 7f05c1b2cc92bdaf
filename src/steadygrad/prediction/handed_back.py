"""What gradients that a causal mask hands from queries to keys have of the size of their mean over all queries.

Key s gets Σ_t p_ts g_t. With K the products g_t·g_t' of two queries, the size of what keys get is tr(P P^T K), that of
the queries' mean tr(J K), J of ones. Of n features a draw of g lets tr(A K) vary by 2/n tr((A K)²), to first order. So
as far as each g_t is one of its own, the log of the one goes with that of the other by s = tr(F K E K)/tr((E K)²), F
and E their forms less that of the queries' size. What queries have in common came through attention before, and goes
with it whole, what each has of it included: of a share b of the queries' size, and all but a share w of what keys get,
(s w + 1 - w - b)/(1 - b) is left of both. Where it lies at some queries, K is so laid out. Approximate: the two are
taken to go together.

Going forward the mean over all queries is one of keys in which the first count more: its size goes with that of the
even mean by the same s, of the forms w w^T and J.
"""

from __future__ import annotations

import numpy as np

from .values import Array


def along_and_left(products: Array, weights: Array, collision: Array, common: Array) -> tuple[float, float]:
    """Return s, and n/2 times what the log of what keys get varies by beside.

    `products` and the mean `weights` p: [queries, keys] of as many; `collision`: [queries], E[Σ p²] of a query;
    `common`: [queries], what of the square of each came with what they have in common.

    >>> even = np.full((4, 4), 1 / 4)
    >>> s, left = along_and_left(np.eye(4), even, np.full(4, 1 / 4), np.zeros(4))
    >>> round(s, 6), round(left, 6)
    (1.0, 0.0)
    """
    n, squares = len(products), np.diagonal(products)
    handed = weights @ weights.T
    np.fill_diagonal(handed, collision)
    common = np.minimum(common, squares)
    alone, share = np.diag(squares - common), float(common.sum() / squares.sum())
    own = float((handed * alone).sum()) / max(float((handed * products).sum()), 1e-300)
    by_itself = _slope(_form(handed, alone) - _form(np.eye(n), alone), _form(np.ones((n, n)), alone), alone)
    s = min(max((by_itself * own + 1 - own - share) / max(1 - share, 1e-300), 0.0), 1.0)
    whole = _form(np.eye(n), products)
    left = _form(handed, products) - whole - s * (_form(np.ones((n, n)), products) - whole)
    return s, _covariance(left, left, products)


def of_weighted_mean(products: Array, weights: Array) -> tuple[float, float]:
    """Return s, and n/2 times what the log of |Σ w x|² varies by beside, of tokens x of n features and w, [tokens].

    >>> of_weighted_mean(np.eye(3), np.full(3, 1 / 3))
    (1.0, 0.0)
    """
    n = len(products)
    whole, even = _form(np.eye(n), products), np.ones((n, n))
    f = _form(np.outer(weights, weights), products) - whole
    s = _slope(f, _form(even, products), products)
    left = f - s * (_form(even, products) - whole)
    return s, max(_covariance(left, left, products), 0.0)


def _form(a: Array, products: Array) -> Array:
    return np.asarray(a / max(float((a * products).sum()), 1e-300))


def _slope(f: Array, mean: Array, products: Array) -> float:
    e = mean - _form(np.eye(len(f)), products)
    return _covariance(f, e, products) / max(_covariance(e, e, products), 1e-300)


def _covariance(a: Array, b: Array, products: Array) -> float:
    return float(((a @ products) * (b @ products).T).sum())
