"""The logarithm of a sum of exponentials, of NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import A, Axis, as_rows, axes_of, check_options, floating, is_tensor, mask_of, reduced_shape


def logsumexp(x: A, *, axis: Axis = -1, where: Any = None, temperature: float = 1.0, keepdims: bool = False) -> A:
    """Return log(sum(exp(x / temperature))), the logarithm of what normalizes the softmax.

    y = m + log1p(s),  m = max x / T,  s = sum of exp((x_i - max x) / T) over all entries but one that is the largest.

    Args:
        x: Logits of any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.
        axis: The axis or axes to reduce; None is all of them.
        where: Bools that broadcast to `x`; what is False is left out.
        temperature: T > 0; inf counts the entries above -inf.
        keepdims: Whether the reduced axes stay, with length 1.

    Returns:
        The reduced array. Of nothing (no entries, only -inf, or all masked) it is -inf with gradient 0; with an entry
        of +inf it is +inf; a NaN makes its own row NaN. The gradient is the softmax, so it is finite everywhere.

    Error bound, absolute: with u the unit roundoff, n the length of a row, R = max x - min x, exp accurate to 1 ulp
    (2u) and log1p to 1 ulp (2u),

        |ŷ - y| <= u (|y| + 2 log1p(s) + (s / (1 + s)) (n + R))       at T = 1, to first order in u.

    Each of the n - 1 terms of s carries R + 2 from its subtraction and exponential and n - 2 from the additions, and
    log1p passes on s / (1 + s) of that; log1p itself and the last addition round once each. Because the largest entry
    is not in the sum, the result is accurate relative to itself even near 0. In half precision u is that of single
    precision, and a rounding to half is added. A temperature makes R 2R / T, and 3R / T in single
    precision, as in `softmax`, and adds 2u |m|.

    Raises:
        TypeError, ValueError: As `softmax`.

    >>> logsumexp(np.array([[1000.0, 1000.0], [-np.inf, -np.inf]]))
    array([1000.69314718,         -inf])
    >>> float(logsumexp(np.array([0.0, -50.0])))  # log(1 + exp(-50)) would be 0
    1.9287498479639178e-22

    Reference: Blanchard, Higham and Higham 2021, algorithm 4.1 and theorem 4.1; the constants are derived above.
    """
    check_options(temperature, "zero")
    logits: Any = floating(x)
    axes = axes_of(axis, logits.ndim)
    mask = None if where is None else as_rows(mask_of(where, logits), axes)[0]
    rows, dim = as_rows(logits, axes)
    result: A = _kernel(rows, dim, mask, temperature).reshape(reduced_shape(logits.shape, axes, keepdims))
    return result


def _kernel(rows: Any, dim: int, mask: Any, temperature: float) -> Any:
    if is_tensor(rows):
        from . import torch_logsumexp  # here, so that arrays need no torch

        return torch_logsumexp.logsumexp(rows, dim, mask, temperature)
    from . import numpy_rows

    last = None if mask is None else np.moveaxis(mask, dim, -1)
    return numpy_rows.logsumexp(np.moveaxis(rows, dim, -1), last, temperature)
