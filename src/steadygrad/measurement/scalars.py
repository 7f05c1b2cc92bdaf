"""Scalars on devices, read as numbers with one wait for each device."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch


def read_scalars(scalars: Iterable[torch.Tensor | float | None]) -> list[float]:
    """Return numbers in the same order, NaN for None.

    >>> read_scalars([torch.tensor(2.0), 1.0, None])
    [2.0, 1.0, nan]
    """
    found = list(scalars)
    tensors = {i: x for i, x in enumerate(found) if isinstance(x, torch.Tensor)}
    values = [math.nan if x is None or i in tensors else float(x) for i, x in enumerate(found)]
    for device in {x.device for x in tensors.values()}:
        here = {i: x for i, x in tensors.items() if x.device == device}
        together = torch.stack([x.detach().to(torch.float64).reshape(()) for x in here.values()])
        for i, value in zip(here, together.tolist(), strict=True):
            values[i] = value
    return values
