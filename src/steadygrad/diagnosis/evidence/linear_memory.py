"""What a linear fit makes of the steps that a sequence begins with, beside those that follow them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from steadygrad.setup import Batch

# Three examples for each number of a fit, as rules of thumb of regression ask for, on half of the examples.
_EXAMPLES_A_NUMBER = 3
_MOST_OUTPUTS = 32
_MOST_CLASSES = 32
_SURE = 3.0


def needed(batches: Sequence[Batch], forgotten: int) -> float:
    """Return the share of the targets' variance that the first steps explain beyond the later ones, on other examples.

    0 where that is within three standard errors of nothing; NaN where it cannot be fitted: inputs are no one tensor
    [examples, steps, features] of equal length, or there are too few examples.

    Args:
        batches: of sequences and targets.
        forgotten: how many steps come first.

    >>> x = torch.randn(400, 6, 1, generator=torch.Generator().manual_seed(0))
    >>> few = [Batch(inputs=x, targets=x[:, 0])]
    >>> round(needed(few, 2), 1), needed([Batch(inputs=x, targets=x[:, 5])], 2)
    (1.0, 0.0)
    """
    if not batches or not all(_is_sequence(b, batches[0]) for b in batches):
        return math.nan
    x = torch.cat([b.inputs for b in batches]).double().flatten(2)
    y = _numbers(torch.cat([b.targets for b in batches]))
    if y is None or not 0 < forgotten < x.shape[1] or len(x) < 2 * _EXAMPLES_A_NUMBER * x[0].numel():
        return math.nan
    late, whole = _errors(x[:, forgotten:].flatten(1), y), _errors(x.flatten(1), y)
    gain = late - whole
    sure = float(gain.mean()) > _SURE * float(gain.std()) / math.sqrt(len(gain))
    variance = float((y - y.mean(0)).square().sum(1).mean())
    return float(gain.mean()) / variance if sure and variance > 0 else 0.0


def _is_sequence(batch: Batch, first: Batch) -> bool:
    x, y = batch.inputs, batch.target
    return (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and x.dim() > 2
        and x.shape[1:] == first.inputs.shape[1:]
        and y is not None
        and first.target is not None
        and y.shape[1:] == first.target.shape[1:]
    )


def _numbers(y: Tensor) -> Tensor | None:
    """Targets as columns; classes one-hot."""
    if y.is_floating_point():
        columns = y.double().reshape(len(y), -1)
        return columns if columns.shape[1] <= _MOST_OUTPUTS else None
    if y.dim() > 1 or int(y.min()) < 0 or int(y.max()) >= _MOST_CLASSES:
        return None
    return F.one_hot(y.long()).double()


def _errors(x: Tensor, y: Tensor) -> Tensor:
    """Squared errors of every second example under the least-squares fit to the others."""
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    design = torch.cat([x, ones], 1)
    fit = torch.linalg.lstsq(design[::2], y[::2], driver="gelsd").solution
    errors: Tensor = (design[1::2] @ fit - y[1::2]).square().sum(1)
    return errors
