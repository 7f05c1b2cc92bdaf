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
    values: list[float] = []
    tensors: dict[torch.device, dict[torch.dtype, dict[int, torch.Tensor]]] = {}
    for i, x in enumerate(scalars):
        if isinstance(x, torch.Tensor) and x.is_cpu:
            values.append(float(x.item()))
        elif isinstance(x, torch.Tensor):
            tensors.setdefault(x.device, {}).setdefault(x.dtype, {})[i] = x.detach() if x.dim() == 0 else x.reshape(())
            values.append(math.nan)
        else:
            values.append(math.nan if x is None else float(x))
    for kinds in tensors.values():
        together = torch.cat([torch.stack(list(here.values())).double() for here in kinds.values()])
        for i, value in zip((i for here in kinds.values() for i in here), together.tolist(), strict=True):
            values[i] = value
    return values
