"""Softmax and log-softmax of NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import Any, cast

from .arguments import (
    A,
    Axis,
    Empty,
    as_rows,
    axes_of,
    check_options,
    floating,
    from_rows,
    is_plain,
    is_tensor,
    mask_of,
)


def softmax(x: A, *, axis: Axis = -1, where: Any = None, temperature: float = 1.0, empty: Empty = "zero") -> A:
    """Return probabilities in proportion to exp(x / temperature).

    p_i = exp(d_i) / S,  d_i = (x_i - max x) / T,  S = sum_j exp(d_j).

    Args:
        x: Logits of any shape, a NumPy array or a torch tensor. Integers take the framework's default float type;
            float16 and bfloat16 are computed in single precision and rounded once.
        axis: The axis or axes that a row spans; None is all of them, () makes each entry a row.
        where: Bools that broadcast to `x`; what is False has probability 0, and neither its value nor a NaN in it
            matters.
        temperature: T > 0. As T falls the arg max takes all; inf gives equal shares to what is above -inf.
        empty: What a row becomes that has nothing in it, because all of it is -inf or masked: "zero"; "nan"; "uniform"
            over the entries that the mask allows (over all, where it allows none); "error" raises (which reads a flag,
            so not under vmap or compile).

    An entry of +inf takes all, k of them 1/k each. A NaN makes its own row NaN. No gradient passes through a row whose
    maximum is infinite, and every gradient of the others is finite.

    Error bound: with u the unit roundoff, n the length of a row, R = max x - min x and exp accurate to 1 ulp (2u),

        |p̂_i - p_i| <= (n + 4 + 2R) u p_i + (smallest normal number)      at T = 1, to first order in u.

    The subtraction is exact to (1 + u), so exp(d̂_i) = exp(d_i)(1 + (|d_i| + 2) u); a sum of positive terms in any
    order keeps the largest relative error of its terms and adds n - 1; the quotient adds 1: (R + 2) + (R + 2 + n - 1)
    + 1. A temperature adds a division, so an error of 2u|d_i|, and R becomes R/T: (n + 4 + 4R/T) u; in single
    precision (n + 4 + 6R/T) u, since T is rounded too. In half precision this holds with the u of single precision,
    and a rounding to half is added.

    Raises:
        TypeError: If `x` is complex or not of numbers, or the mask is not of bools.
        ValueError: If an axis is out of range, the mask does not broadcast, the temperature is not > 0, the policy is
            unknown, or a row is empty under "error".

    >>> import numpy as np
    >>> softmax(np.array([[1e4, 0.0], [-np.inf, -np.inf]]))
    array([[1., 0.],
           [0., 0.]])
    >>> softmax(np.array([1.0, 2.0, np.nan]), where=np.array([True, True, False]), temperature=0.5)
    array([0.11920292, 0.88079708, 0.        ])

    Reference: Blanchard, Higham and Higham 2021, "Accurately computing the log-sum-exp and softmax functions", IMA
    Journal of Numerical Analysis 41, algorithm 4.1 and theorem 4.2; the constants are derived above.
    """
    return _normalized("softmax", x, axis, where, temperature, empty)


def log_softmax(x: A, *, axis: Axis = -1, where: Any = None, temperature: float = 1.0, empty: Empty = "zero") -> A:
    """Return the logarithms of `softmax`, finite where the probabilities underflow.

    log p_i = d_i - log S,  d_i = (x_i - max x) / T,  S = sum_j exp(d_j).

    Args:
        x: Logits of any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.
        axis: The axis or axes that a row spans; None is all of them.
        where: Bools that broadcast to `x`; what is False has log-probability -inf.
        temperature: T > 0.
        empty: What a row with nothing in it becomes: the logarithm of `softmax`'s policy, so "zero" gives -inf.

    Error bound, absolute: with u, n, R as in `softmax` and s = S - 1,

        |ŷ_i - y_i| <= u (|d_i| + |y_i| + 2 log S + n - 1 + (R + 2) s / (1 + s)),

    the subtraction, the last subtraction, a logarithm accurate to 1 ulp, the sum of n terms, and their exponentials;
    the largest term is exp(0) = 1, which is exact.

    Raises:
        TypeError, ValueError: As `softmax`.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, -104.0], dtype=np.float32))
    array([   0., -104.], dtype=float32)

    Reference: Blanchard, Higham and Higham 2021, section 5; the bound is derived above.
    """
    return _normalized("log_softmax", x, axis, where, temperature, empty)


def _normalized(name: str, x: A, axis: Axis, where: Any, temperature: float, empty: Empty) -> A:
    if where is None and is_plain(x, axis, temperature, empty):
        from .torch_rows import plain_log_softmax, plain_softmax  # here, so that arrays need no torch

        kernel: Any = plain_softmax if name == "softmax" else plain_log_softmax
        return cast("A", kernel(x, axis, empty))
    check_options(temperature, empty)
    logits: Any = floating(x)
    axes = axes_of(axis, logits.ndim)
    mask = None if where is None else as_rows(mask_of(where, logits), axes)[0]
    rows, dim = as_rows(logits, axes)
    result: A = from_rows(_kernel(name, rows, dim, mask, temperature, empty), logits.shape, axes)
    return result


def _kernel(name: str, rows: Any, dim: int, mask: Any, temperature: float, empty: Empty) -> Any:
    if is_tensor(rows):
        from .torch_rows import log_softmax, softmax  # here, so that arrays need no torch

        return (softmax if name == "softmax" else log_softmax)(rows, dim, mask, temperature, empty)
    import numpy as np

    from . import numpy_rows

    last = None if mask is None else np.moveaxis(mask, dim, -1)
    return np.moveaxis(getattr(numpy_rows, name)(np.moveaxis(rows, dim, -1), last, temperature, empty), -1, dim)
