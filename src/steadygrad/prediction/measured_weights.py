"""Weights whose numbers are there, or were computed of a draw: the distribution that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .batch import AT_ONCE
from .values import Array, Concrete, Fill, Unknown, Value

if TYPE_CHECKING:
    from .interpreter import Interpreter

FEW = 32
LARGEST_SIDE = 1024  # of a matrix that is looked at for orthonormal rows: its Gram matrix takes the cube of it
MATRIX = 2
ROUNDING = 1e-3  # relative to the diagonal of a Gram matrix, in single precision


def measured_fill(weight: torch.Tensor, source: int) -> Fill | Unknown:
    """The distribution of a weight that is there; its mean counts where it is five standard errors from zero.

    Of few entries the standard error itself is too uncertain for that: their mean counts where they are all alike.
    """
    if not weight.numel() or weight.device.type != "cpu":
        return Unknown("a parameter that is not on the CPU")
    if not all(bool(part.isfinite().all()) for part in weight.reshape(-1).split(AT_ONCE)):
        return Unknown("weights that are not finite")
    mean, count = _mean(weight, lambda x: x), weight.numel()
    variance = _mean(weight, lambda x: (x - mean) ** 2)
    if variance > 0 and (count < FEW or abs(mean) <= 5 * (variance / count) ** 0.5):
        mean, variance = 0.0, variance + mean**2
    fourth = _mean(weight, lambda x: ((x - mean) ** 2) ** 2)
    return Fill(mean, variance, source, fourth / variance**2 if variance > 0 else 3.0, "approximate")


def _mean(weight: torch.Tensor, of: Callable[[Array], Array]) -> float:
    """Return the mean of a function of all entries, in double precision and a part at a time, for want of memory."""
    parts = weight.reshape(-1).split(AT_ONCE)
    return math.fsum(float(of(part.double().numpy()).sum()) for part in parts) / weight.numel()


def is_drawn_weight(value: Value) -> bool:
    """Whether numbers were computed of a draw of parameters, as those of a parametrization are."""
    return isinstance(value, Concrete) and value.drawn and value.tensor.is_floating_point()


def as_weight(run: Interpreter, tensor: torch.Tensor) -> Value:
    """Return what is known of a matrix; numbers of one draw stand for what another draw would give as well.

    So the spread over draws goes on behind a weight that is computed of others, which one draw knows nothing of.
    """
    value = run.value(tensor)
    return as_fill(run, value) if is_drawn_weight(value) else value


def as_fill(run: Interpreter, drawn: Value) -> Fill | Unknown:
    """Return the distribution that numbers of one draw are of, one for a matrix and its transpose."""
    assert isinstance(drawn, Concrete)
    numbers = drawn.tensor
    part = numbers.untyped_storage()._cdata, int(numbers.storage_offset()), numbers.numel()
    if part not in run.drawn.weights:
        run.drawn.weights[part] = numbers, _distribution(numbers, run.new_fill())
    return run.drawn.weights[part][1]


def _distribution(weight: torch.Tensor, source: int) -> Fill | Unknown:
    found = measured_fill(weight, source)
    if isinstance(found, Unknown) or not _is_orthogonal(weight):
        return found
    return replace(found, mean=0.0, variance=found.variance + found.mean**2, form="orthogonal")


def _is_orthogonal(weight: torch.Tensor) -> bool:
    """Whether a matrix has orthonormal rows, or columns, times one number."""
    if weight.dim() != MATRIX or max(weight.shape) > LARGEST_SIDE or min(weight.shape) < MATRIX:
        return False
    w = weight.double().numpy()
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    size = float(gram.trace()) / len(gram)
    return size > 0 and bool(np.abs(gram - size * np.eye(len(gram))).max() < ROUNDING * size)
