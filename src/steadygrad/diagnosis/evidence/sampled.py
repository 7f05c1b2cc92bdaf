"""Batches of the data that are kept for a closer look, and the targets of many more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import torch

from steadygrad.errors import SteadygradError
from steadygrad.setup import Batch, checked_batch, mapped, tensors_in, user_code

from .collector import Collector, Unavailable
from .part_of_batch import part_of
from .scanned import Scanned

# Memory for what is kept: 16 and 8 million numbers, 64 and 32 MB in single precision. A first batch always is.
_MOST_ENTRIES = 2**24
_MOST_TARGETS = 2**23
_MOST_BATCHES = 256
# As for a first pass over the data.
_SECONDS = 2.0
# Where examples are large, so is the time that it takes to read them.
_MOST_LARGE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """Finite batches from the beginning of the data.

    Attributes:
        batches: the first ones, whole.
        targets: of these and of further batches; in as many parts as take the place of those that are looked at.
    """

    batches: tuple[Batch, ...]
    targets: tuple[Any, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Pass over the data again, since nothing of the first pass is kept."""
        if collector.get(Scanned).clean is None:
            raise Unavailable("No batch is free of NaN and infinity, so none was looked at closely.")
        kept: list[Batch] = []
        targets: list[Any] = []
        room, room_for_targets = _MOST_ENTRIES, _MOST_TARGETS
        few, budget = collector.pace.examples, collector.part("batches to look at", _SECONDS)
        for whole in _finite(collector):
            batch = part_of(whole, few)
            room -= batch.numbers
            if not kept or room > 0:
                kept.append(batch)
            if whole.targets is not None:
                room_for_targets -= sum(y.numel() for y in tensors_in(whole.targets).values())
                targets += _parts(whole, few)
            if budget.is_over or (room <= 0 and (room_for_targets <= 0 or len(targets) >= _MOST_LARGE)):
                break
        return cls(batches=tuple(kept), targets=tuple(targets))

    @property
    def first(self) -> Batch:
        """The batch that is measured."""
        return self.batches[0]


def _parts(batch: Batch, few: int | None) -> list[Any]:
    """A batch's targets, as those of so many examples each."""
    if few is None:
        return [batch.targets]
    apart = [y.split(few * batch.rows) for y in tensors_in(batch.targets).values()]
    return [_in_places(batch.targets, row) for row in zip(*apart, strict=True)]


def _in_places(targets: Any, tensors: Sequence[torch.Tensor]) -> Any:
    each = iter(tensors)
    return mapped(lambda _: next(each), targets)


def _finite(collector: Collector) -> Iterator[Batch]:
    data: Any = collector.setup.data
    with user_code("`data`"):
        for index, found in enumerate(islice(data, _MOST_BATCHES)):
            try:
                batch = checked_batch(collector.setup, found, index)
            except SteadygradError:
                return
            if all(map(_is_finite, batch.tensors.values())):
                yield batch


def _is_finite(x: torch.Tensor) -> bool:
    return not x.is_floating_point() or bool(torch.isfinite(x.sum(dtype=torch.float64)))
