"""A block after which the data will be drawn as if it had not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from steadygrad.measurement.kept import attributes_kept

# Where a loader keeps what decides the order of its examples, and how they are made.
_PARTS = ("dataset", "sampler", "batch_sampler", "generator", "collate_fn")


@contextmanager
def data_position_kept(data: Any) -> Iterator[None]:
    """Put back what decides which batches come next: the loader's own state, its dataset's and its samplers'.

    That is the states of their generators, of torch, NumPy and Python, their counters and other attributes. Tensors are
    not copied: a data set may be larger than what memory is left.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> generator = torch.Generator().manual_seed(0)
    >>> data = DataLoader(TensorDataset(torch.arange(9)), shuffle=True, generator=generator)
    >>> before = generator.get_state()
    >>> with data_position_kept(data):
    ...     _ = list(data)
    >>> torch.equal(generator.get_state(), before)
    True
    """
    with attributes_kept(*_holders(data), tensors=False):
        yield


def _holders(data: Any) -> list[Any]:
    """The data and its parts, each once."""
    found: dict[int, Any] = {}
    waiting = [data]
    while waiting:
        holder = waiting.pop()
        if holder is None or id(holder) in found or isinstance(holder, type):
            continue
        found[id(holder)] = holder
        waiting += [getattr(holder, part, None) for part in _PARTS]
    return list(found.values())
