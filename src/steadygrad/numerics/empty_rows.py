"""Rows whose softmax is a limit or a policy: a maximum of +inf, or nothing in them."""

from __future__ import annotations

from typing import Any, assert_never

from steadygrad.errors import not_allowed

from .arguments import Empty, namespace


def constant_row(x: Any, allowed: Any, empty: Empty) -> Any:
    """Return the softmax of rows whose maximum is infinite, along the last axis.

    With k entries of +inf each of them takes 1/k: the limit in which they grow together. A row of -inf alone (or with
    nothing that the mask allows) has nothing in it, and takes what the policy says: zeros, nans, or equal shares over
    the allowed entries (over all of them where none is allowed).

    Raises:
        ValueError: If a row has nothing in it and the policy is "error".

    >>> import numpy as np
    >>> inf = np.inf
    >>> constant_row(np.array([[inf, 0, inf], [-inf] * 3]), np.ones((2, 3), bool), "uniform")
    array([[0.5       , 0.        , 0.5       ],
           [0.33333333, 0.33333333, 0.33333333]])
    """
    xp = namespace(x)
    ties = x == float("inf")
    tied = ties.any(-1)[..., None]
    return xp.where(tied, _shares(ties, x), _policy(x, allowed, empty))


def constant_log_row(x: Any, allowed: Any, empty: Empty) -> Any:
    """Return the logarithm of `constant_row`.

    >>> import numpy as np
    >>> constant_log_row(np.array([[np.inf, np.inf]]), np.ones((1, 2), bool), "zero")
    array([[-0.69314718, -0.69314718]])
    """
    return namespace(x).log(constant_row(x, allowed, empty))


def _shares(chosen: Any, x: Any) -> Any:
    """Return equal shares of the chosen entries, in the type of `x`; zeros where none is chosen."""
    ones = namespace(x).ones_like(x) * chosen
    count = ones.sum(-1)[..., None]
    return ones / (count + (count == 0))


def _policy(x: Any, allowed: Any, empty: Empty) -> Any:
    match empty:
        case "zero":
            return namespace(x).zeros_like(x)
        case "nan":
            return namespace(x).full_like(x, float("nan"))
        case "uniform":
            return _shares(allowed | ~allowed.any(-1)[..., None], x)
        case "error":
            refuse_empty((x == -float("inf")).all(-1).sum())
            return namespace(x).zeros_like(x)
        case _:
            assert_never(empty)


def refuse_empty(count: Any) -> None:
    """Raise if the number of rows with nothing in them is not zero.

    >>> refuse_empty(2)
    Traceback (most recent call last):
    ValueError: `x` must have an entry above -inf in every row when empty="error", got 2 rows with none.
    """
    if int(count):
        rule = 'must have an entry above -inf in every row when empty="error"'
        rows = "1 row with none" if int(count) == 1 else f"{int(count)} rows with none"
        raise ValueError(not_allowed("x", rule, Plain(rows)))


class Plain(str):
    """A text that stands in a message without quotes.

    >>> repr(Plain("2 rows"))
    '2 rows'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
