"""Entropy of a distribution given by logits, of NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

from .arguments import A, Axis, Empty, cast, check_options, divisors, floating, last_rows, namespace, reduced_shape
from .empty_rows import constant_row
from .logsumexp import logsumexp
from .softmax import softmax


def entropy(
    x: A, *, axis: Axis = -1, where: Any = None, temperature: float = 1.0, empty: Empty = "zero", keepdims: bool = False
) -> A:
    """Return the entropy, in nats, of the softmax of logits.

    H = -sum_i p_i log p_i = log1p(s) + G,  G = sum_i p_i |d_i|, with p, d and s of `softmax` and `logsumexp`.

    Args:
        x: Logits of any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.
        axis: The axis or axes that a row spans; None is all of them.
        where: Bools that broadcast to `x`; what is False has probability 0.
        temperature: T > 0.
        empty: The value of a row with nothing in it: "zero" 0, "nan" NaN, "uniform" the logarithm of the number of
            entries that the mask allows (of all, where it allows none), "error" raises.
        keepdims: Whether the reduced axes stay, with length 1.

    An infinite maximum that k entries share gives log k. Gradients are finite everywhere.

    Error bound, absolute: with u, n and R as in `softmax`,

        |Ĥ - H| <= u ((2n + 6 + 2R) G + 3 log1p(s) + (n + R) s / (1 + s)) + n R (smallest normal number)

    at T = 1: both parts are >= 0, so nothing cancels. A term of G carries n + 4 + 2R from the probability, 1 each from
    the difference, the product and the last addition, n - 1 from the sum; log1p(s) is that of `logsumexp` plus the last
    addition. A temperature makes R 2R / T, and 3R / T in single precision, as in `softmax`. In half precision u is
    that of single, and a rounding to half is added.

    Raises:
        TypeError, ValueError: As `softmax`.

    >>> import numpy as np
    >>> entropy(np.array([[0.0, 0.0], [0.0, -800.0], [-np.inf, 3.0]]))
    array([0.69314718, 0. , 0. ])
    """
    check_options(temperature, empty)
    logits: Any = floating(x)
    rows, allowed, axes = last_rows(logits, axis, where)
    xp = namespace(rows)
    if rows.shape[-1] == 0:
        return cast(rows.sum(-1), logits.dtype).reshape(reduced_shape(logits.shape, axes, keepdims))  # type: ignore[no-any-return]
    top = xp.amax(rows, -1)[..., None]
    constant = xp.isinf(top)
    d = xp.where(constant, xp.zeros_like(rows), rows) - xp.where(constant, xp.zeros_like(top), top)
    inner = logsumexp(d, temperature=temperature) + _mean_gap(d, temperature)
    fixed = _entropy_of(constant_row(xp.where(constant, rows, xp.zeros_like(rows)), allowed, empty))
    total = xp.where(constant[..., 0], fixed, inner).reshape(reduced_shape(logits.shape, axes, keepdims))
    result: A = cast(total, logits.dtype)
    return result


def _mean_gap(d: Any, temperature: float) -> Any:
    """Return G, the mean distance of a logit from the largest in units of the temperature."""
    xp = namespace(d)
    gap = (softmax(d, temperature=temperature) * -xp.where(xp.isinf(d), xp.zeros_like(d), d)).sum(-1)
    for divisor in divisors(temperature, single=d.dtype.itemsize < 8):
        gap = gap / divisor
    return gap


def _entropy_of(p: Any) -> Any:
    xp = namespace(p)
    return abs(p * xp.log(xp.where(p > 0, p, xp.ones_like(p)))).sum(-1)
