"""The first examples of a batch."""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.setup import Batch, mapped


def examples(found: Any, most: int) -> Any:
    """Return the first examples of a tensor, or of each that inputs hold; a sparse one, which cannot be cut, whole.

    >>> examples(torch.arange(5), 2).tolist()
    [0, 1]
    """
    return mapped(lambda x: x[:most] if x.dim() and x.layout == torch.strided else x, found)


def part_of(batch: Batch, most: int | None) -> Batch:
    """Return the first examples of a batch; all of them for None.

    >>> part_of(Batch(inputs=torch.ones(5, 2), targets=torch.ones(5)), 2).size
    2
    >>> len(part_of(Batch(inputs=torch.ones(5, 3), targets=torch.ones(15)), 2).targets)
    6
    """
    if most is None or most >= batch.size:
        return batch
    return Batch(inputs=examples(batch.inputs, most), targets=examples(batch.targets, most * batch.rows))
