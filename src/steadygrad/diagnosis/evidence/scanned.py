"""The batches of the data, scanned for numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self

import torch

from steadygrad.diagnosis.own_copies import OwnCopies
from steadygrad.errors import UserCodeError
from steadygrad.setup import Batch, checked_batch, copied, first_batch, user_code

from .clean_batches import NO_DATA
from .collector import Collector, Unavailable
from .pace import Pace
from .part_of_batch import part_of

# Data may be endless; what lies behind this many batches is not looked at, and a note says so.
MOST_BATCHES = 1000

# A fifth of a check: the data are drawn again for what is kept, for the probe and for the trial.
_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class NonfiniteBatch:
    """A batch that holds NaN or infinity.

    Attributes:
        index: its number, from 0.
        part: "targets", or where in the inputs the tensor is: "inputs", "inputs['mask']".
        entries: how many entries are not finite.
        examples: how many examples hold one.
        columns: the features concerned, where examples are vectors.
    """

    index: int
    part: str
    entries: int
    examples: int
    columns: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What a pass over the data showed.

    Attributes:
        batches: how many were looked at.
        entries: how many numbers of inputs and targets.
        nonfinite: those with NaN or infinity.
        clean: the first one without, as many examples of it as there is time for; None where there is none.
    """

    batches: int
    entries: int
    nonfinite: tuple[NonfiniteBatch, ...]
    clean: Batch | None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Pass once over the data."""
        first = first_batch(collector.setup)
        if first is None or collector.setup.data is None:
            raise Unavailable(NO_DATA)
        found: list[NonfiniteBatch] = []
        clean, count, entries = None, 0, 0
        for index, batch in enumerate(_batches(collector)):
            parts = batch.tensors
            bad = [b for part, x in parts.items() if (b := _nonfinite(index, part, x)) is not None]
            found += bad
            if not bad and clean is None:
                clean = Batch(inputs=copied(batch.inputs), targets=copied(batch.targets))
            count, entries = index + 1, entries + sum(x.numel() for x in parts.values())
        if clean is not None:
            collector.pace = Pace.of(collector.setup, clean, collector.budget.seconds)
            if few := collector.pace.examples:
                collector.note(f"Of each batch of {clean.size} examples {few} were looked at, for want of time.")
            clean = part_of(clean, few)
        return cls(batches=count, entries=entries, nonfinite=tuple(found), clean=clean)


def _batches(collector: Collector) -> Iterator[Batch]:
    setup, index = collector.setup, 0
    data: Any = setup.data
    collector.setup = replace(setup, data=OwnCopies(data))
    budget = collector.part("further batches", _SECONDS)
    try:
        with user_code("`data`"):
            for index, batch in enumerate(islice(data, MOST_BATCHES + 1)):
                if index == MOST_BATCHES or (index and budget.is_over):
                    collector.note(f"Only the first {index} batches of the data were looked at.")
                    return
                yield checked_batch(setup, batch, index)
    except UserCodeError as error:
        # What raises in place of a first batch was told before; what came before a later one is there to be looked at.
        collector.note(f"{error} after batch {index}, so the {index + 1} up to it were looked at.")
        collector.setup = replace(setup, data=OwnCopies(data, most=index + 1))


def _nonfinite(index: int, part: str, x: torch.Tensor) -> NonfiniteBatch | None:
    # A sum is finite where all is: forty times cheaper than asking each entry. Double holds the sum of any floats.
    if not x.is_floating_point() or torch.isfinite(x.sum(dtype=torch.float64)):
        return None
    bad = ~torch.isfinite(x)
    if not bad.any() or x.dim() == 0:
        return None
    rows = bad.reshape(len(x), -1)
    columns = rows.any(0).nonzero().flatten().tolist() if x.dim() == 2 else []
    return NonfiniteBatch(
        index=index, part=part, entries=int(bad.sum()), examples=int(rows.any(1).sum()), columns=tuple(columns)
    )
