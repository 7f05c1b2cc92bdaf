"""What a linear fit makes of the steps that a sequence begins with, beside those that follow them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from steadygrad.setup import Batch

from .linear_fit import EXAMPLES_A_NUMBER, as_columns, fit_errors, is_like

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
    x = torch.cat([b.inputs for b in batches]).double().cpu().flatten(2)
    y = as_columns(torch.cat([b.target for b in batches]))  # type: ignore[misc]
    if y is None or not 0 < forgotten < x.shape[1] or len(x) < 2 * EXAMPLES_A_NUMBER * x[0].numel():
        return math.nan
    late, whole = fit_errors(x[:, forgotten:].flatten(1), y), fit_errors(x.flatten(1), y)
    gain = late - whole
    sure = float(gain.mean()) > _SURE * float(gain.std()) / math.sqrt(len(gain))
    variance = float((y - y.mean(0)).square().sum(1).mean())
    return float(gain.mean()) / variance if sure and variance > 0 else 0.0


def _is_sequence(batch: Batch, first: Batch) -> bool:
    return is_like(batch, first) and batch.inputs.dim() > 2
