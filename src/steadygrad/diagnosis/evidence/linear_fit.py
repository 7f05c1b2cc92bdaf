"""The least-squares fit of targets to inputs, and what it leaves on other examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from steadygrad.setup import Batch

# Three examples for each number of a fit, as rules of thumb of regression ask for, on half of the examples.
EXAMPLES_A_NUMBER = 3
_MOST_OUTPUTS = 32
_MOST_CLASSES = 32
# A fit of so many numbers takes some tenths of a second.
_MOST_NUMBERS = 512


def unexplained(batches: Sequence[Batch]) -> float:
    """Return the share of the targets' variance that a linear fit to the inputs leaves, on other examples.

    NaN where it cannot be fitted: inputs are no one tensor of numbers, or there are too few examples.

    >>> x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    >>> round(unexplained([Batch(inputs=x, targets=x[:, :1] - 2)]), 6)
    0.0
    """
    if not batches or not all(is_like(b, batches[0]) for b in batches):
        return math.nan
    x = torch.cat([b.inputs for b in batches]).double().cpu().flatten(1)
    y = as_columns(torch.cat([b.target for b in batches]))  # type: ignore[misc]
    if y is None or x.shape[1] > _MOST_NUMBERS or len(x) < 2 * EXAMPLES_A_NUMBER * x.shape[1]:
        return math.nan
    variance = float((y[1::2] - y[::2].mean(0)).square().sum(1).mean())
    return float(fit_errors(x, y).mean()) / variance if variance > 0 else math.nan


def is_like(batch: Batch, first: Batch) -> bool:
    """Return whether a batch holds numbers and targets of the shapes of another one's.

    >>> is_like(*(Batch(inputs=torch.ones(n, 2), targets=torch.ones(n)) for n in (4, 3)))
    True
    """
    x, y, other = batch.inputs, batch.target, first.target
    return (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and x.layout == torch.strided
        and x.dim() > 1
        and x.shape[1:] == first.inputs.shape[1:]
        and y is not None
        and other is not None
        and len(y) == len(x)
        and y.shape[1:] == other.shape[1:]
    )


def as_columns(y: Tensor) -> Tensor | None:
    """Return targets as columns, classes one-hot; None where they are too many.

    >>> as_columns(torch.tensor([1, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    y = y.cpu()
    if y.is_floating_point():
        columns = y.double().reshape(len(y), -1)
        return columns if columns.shape[1] <= _MOST_OUTPUTS else None
    if y.dim() > 1 or int(y.min()) < 0 or int(y.max()) >= _MOST_CLASSES:
        return None
    return F.one_hot(y.long()).double()


def fit_errors(x: Tensor, y: Tensor) -> Tensor:
    """Return squared errors of every second example under the least-squares fit to the others.

    >>> x = torch.arange(6.0).double()[:, None]
    >>> [round(error, 6) for error in fit_errors(x, 2 * x + 1).tolist()]
    [0.0, 0.0, 0.0]
    """
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    design = torch.cat([x, ones], 1)
    fit = torch.linalg.lstsq(design[::2], y[::2], driver="gelsd").solution
    errors: Tensor = (design[1::2] @ fit - y[1::2]).square().sum(1)
    return errors
