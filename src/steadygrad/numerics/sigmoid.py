"""The logistic sigmoid, its logarithm and its integral, of NumPy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import A, cast, floating, is_tensor


def sigmoid(x: A) -> A:
    """Return 1 / (1 + exp(-x)), entry by entry.

    Args:
        x: Any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.

    Error bound: 8u σ(x) + (smallest normal number), u the unit roundoff: exp to 1 ulp (2u), a sum, a quotient, in
    whichever of exp(x) / (1 + exp(x)) and 1 / (1 + exp(-x)) does not overflow, and twice that for kernels that form it
    from tanh or a 2-ulp exp. In half precision it holds in single precision, and a rounding to half is added.

    Raises:
        TypeError: If `x` is complex or not of numbers.

    >>> sigmoid(np.array([-800.0, 0.0, 800.0]))
    array([0. , 0.5, 1. ])
    """
    return _apply("sigmoid", x)


def log_sigmoid(x: A) -> A:
    """Return log σ(x) = min(x, 0) - log1p(exp(-|x|)), entry by entry.

    Args:
        x: Any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.

    Error bound: 8u |log σ(x)| + (smallest normal number): both parts have one sign, so nothing cancels; exp and log1p
    to 1 ulp (2u) each and a sum, with room for 2-ulp kernels.

    Raises:
        TypeError: If `x` is complex or not of numbers.

    >>> log_sigmoid(np.array([-800.0, 0.0]))
    array([-8.00000000e+02, -6.93147181e-01])
    """
    return _apply("log_sigmoid", x)


def softplus(x: A) -> A:
    """Return log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), entry by entry.

    Args:
        x: Any shape, a NumPy array or a torch tensor; types are treated as in `softmax`.

    Error bound: 8u softplus(x) + (smallest normal number), as `log_sigmoid`. The common cut-off, x itself above 20, is
    off by exp(-20) = 2e-9; here it stands at 40, where exp(-40) = 4e-18 is below the unit roundoff of 40 in double
    precision.

    Raises:
        TypeError: If `x` is complex or not of numbers.

    >>> softplus(np.array([-50.0, 0.0, 800.0]))
    array([1.92874985e-22, 6.93147181e-01, 8.00000000e+02])
    """
    return _apply("softplus", x)


def log1mexp(x: A) -> A:
    """Return log(1 - exp(-x)) for x >= 0, entry by entry.

    log(-expm1(-x)) up to x = ln 2, log1p(-exp(-x)) above it.

    Args:
        x: Any shape, a NumPy array or a torch tensor; types are treated as in `softmax`. Negative entries give NaN; 0
            gives -inf, and there the derivative 1 / expm1(x) is infinite too, as the function's own is.

    Error bound: 8u |y| + (smallest normal number). Up to ln 2, expm1 to 1 ulp moves a logarithm of at least ln 2 by 2u,
    so by at most 2u / ln 2 = 2.9u of it; above, log1p's argument carries 2u and its condition number is at most
    (1 / (1 - 1/2)) / (2 ln 2) < 1.5; the outer function adds 2u.

    Raises:
        TypeError: If `x` is complex or not of numbers.

    >>> log1mexp(np.array([1e-20, 50.0]))
    array([-4.60517019e+01, -1.92874985e-22])

    Reference: Mächler 2012, "Accurately computing log(1 - exp(-|a|))", equation 7.
    """
    return _apply("log1mexp", x)


def _apply(name: str, x: A) -> A:
    values: Any = floating(x)
    if is_tensor(values):
        from . import torch_pointwise  # here, so that arrays need no torch

        result: A = getattr(torch_pointwise, name)(values)
        return result
    from . import numpy_pointwise

    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    with np.errstate(all="ignore"):  # overflow to inf and underflow to 0 are what is meant
        computed: Any = cast(getattr(numpy_pointwise, name)(wide), values.dtype)
    array: A = computed
    return array
