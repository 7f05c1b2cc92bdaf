"""A block after which the data will be drawn as if it had not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def data_position_kept(data: Any) -> Iterator[None]:
    """Put back the states of a loader's own generators: its own, its sampler's, its batch sampler's.

    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> generator = torch.Generator().manual_seed(0)
    >>> data = DataLoader(TensorDataset(torch.arange(9)), shuffle=True, generator=generator)
    >>> before = generator.get_state()
    >>> with data_position_kept(data):
    ...     _ = list(data)
    >>> torch.equal(generator.get_state(), before)
    True
    """
    states = [(generator, generator.get_state()) for generator in _generators(data)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _generators(data: Any) -> list[torch.Generator]:
    holders = [data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None)]
    found = {id(g): g for holder in holders if isinstance(g := getattr(holder, "generator", None), torch.Generator)}
    return list(found.values())
