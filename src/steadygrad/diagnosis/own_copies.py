"""The data of a check: copies of the user's batches, up to where these end in an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from steadygrad.setup import copied


@dataclass(frozen=True, eq=False)
class OwnCopies:
    """Batches in memory of their own: a model that works in place on its inputs leaves the user's as they are.

    Attributes:
        dataset: the user's data.
        most: how many batches of a pass are drawn; None for all.

    >>> import torch
    >>> data = [torch.zeros(2), torch.ones(2)]
    >>> [batch.add_(1).tolist() for batch in OwnCopies(data, most=1)], data[0].tolist()
    ([[1.0, 1.0]], [0.0, 0.0])
    """

    dataset: Iterable[Any]
    most: int | None = None

    def __iter__(self) -> Iterator[Any]:
        return map(copied, islice(self.dataset, self.most))
