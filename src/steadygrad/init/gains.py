"""A gain from what it is said by: a number, an activation's name, a function, a module."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from steadygrad.errors import not_allowed
from steadygrad.theory import gain as theoretical_gain

Gain = float | str | Callable[..., Any]


def gain_of(gain: Gain) -> float:
    """Return the gain: the number itself, or E[phi(z)²]^-1/2 of the activation that follows.

    Args:
        gain: > 0 and finite; an activation's name; a function of an array or a tensor; a module such as `nn.GELU()`.

    Raises:
        ValueError: the number is not allowed, the name not known, or the function not pointwise.

    >>> gain_of(2.0), round(gain_of("relu"), 6), round(gain_of(nn.GELU()), 6), round(gain_of(torch.tanh), 6)
    (2.0, 1.414214, 1.53353, 1.592537)
    """
    if isinstance(gain, str):
        return theoretical_gain(gain).gain
    if callable(gain):
        return theoretical_gain(pointwise(gain)).gain
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not 0 < gain < math.inf:
        raise ValueError(not_allowed("gain", "must be > 0 and finite", gain))
    return float(gain)


def pointwise(function: Callable[..., Any]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a function of a float64 array from a function of arrays, of tensors, or a module.

    >>> pointwise(torch.relu)(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).double().cpu().requires_grad_(False)
    elif _takes_arrays(function):
        return function
    return partial(_through_torch, function)


def _takes_arrays(function: Callable[..., Any]) -> bool:
    try:
        return isinstance(function(np.zeros(2)), np.ndarray)
    except Exception:
        # A function of tensors may raise anything when it is given an array.
        return False


def _through_torch(function: Callable[..., Any], u: NDArray[np.float64]) -> NDArray[np.float64]:
    with torch.no_grad():
        # A column, one unit in many examples: some modules name an axis of units.
        x = torch.from_numpy(np.array(u, dtype=np.float64).reshape(-1, 1))
        return np.asarray(function(x).numpy(), dtype=np.float64).reshape(np.shape(u))
