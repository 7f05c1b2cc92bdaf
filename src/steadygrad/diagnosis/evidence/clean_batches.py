"""The first batches of the data that are finite."""

from __future__ import annotations

import math
from itertools import islice

import torch

from steadygrad.setup import Batch, checked_batch, user_code

from .collector import Collector, Unavailable
from .part_of_batch import part_of

_LOOKED_AT = 100

NO_DATA = "There are no data, so nothing was measured: a setup has `data` and `loss_fn` beside its `model`."


def clean_batches(collector: Collector, most: int) -> list[Batch]:
    """Return up to so many batches without NaN and infinity, of each the examples that there is time for.

    Args:
        collector: whose data are read.
        most: how many are wanted.

    Raises:
        Unavailable: there are no data, or the first hundred batches all hold such numbers.

    >>> from steadygrad.setup import Setup
    >>> data = [torch.full((2, 3), math.nan), torch.ones(2, 3)]
    >>> len(clean_batches(Collector(Setup(model=torch.nn.Linear(3, 1), data=data)), 2))
    1
    """
    setup = collector.setup
    if setup.data is None:
        raise Unavailable(NO_DATA)
    found: list[Batch] = []
    with user_code("`data`"):
        for index, batch in enumerate(islice(setup.data, _LOOKED_AT)):
            checked = checked_batch(setup, batch, index)
            if all(map(_finite, checked.tensors.values())):
                found.append(part_of(checked, collector.pace.examples))
            if len(found) == most:
                break
    if not found:
        raise Unavailable("No batch is free of NaN and infinity, so nothing was measured.")
    return found


def _finite(x: torch.Tensor) -> bool:
    return not x.is_floating_point() or math.isfinite(float(x.sum(dtype=torch.float64)))
