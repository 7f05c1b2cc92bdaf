"""How long the model takes for a batch, and how many examples of it can be looked at in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steadygrad.measurement.budget import Budget
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Batch, Setup

from .part_of_batch import part_of

# What differs between examples is a mean over pairs: four examples make six.
LEAST = 4

# A backward pass costs two forward ones: a product for the inputs and one for the weights beside that of the forward.
PASS = 3.0

# All that looks at a batch without stepping makes so many passes together; they may take half of a check.
PASSES = 12
_HALF = 0.5

# A trial and what is tried after it make hundreds of passes. A model so fast that a thousand are far within a check
# needs no closer look at its pace.
_FAST = 0.005

# Nothing that is loaded at a first call takes longer.
_LOADING = 1.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of the thread's own time.

    Attributes:
        whole: of a forward and a backward pass on the whole batch, or a bound for it; 0 where it is not known.
        part: the same on the examples that are looked at.
        examples: how many those are; None for all.

    >>> Pace().whole
    0.0
    """

    whole: float = 0.0
    part: float = 0.0
    examples: int | None = None

    @classmethod
    def of(cls, setup: Setup, batch: Batch, seconds: float) -> Pace:
        """Run the model on more and more examples until it is known whether all of them can be looked at.

        Args:
            setup: whose model runs; it is left as it was.
            batch: the first that is finite.
            seconds: that the whole check may take.
        """
        longest, size = _HALF * seconds / PASSES / PASS, batch.size
        found = _paced(setup, batch, min(LEAST, size), longest)
        divisible = found is not None
        found = found or _paced(setup, batch, size, longest)
        if found is None:
            return cls()  # it raises, which is told where it is measured
        n, took = found
        whole = PASS * took * size / n
        few = max(LEAST, int(n * longest / took)) if divisible and took > longest else size
        return cls(whole=whole, part=whole * min(few, size) / size, examples=few if few < size else None)


def _paced(setup: Setup, batch: Batch, examples: int, longest: float) -> tuple[int, float] | None:
    """How many examples say enough, from so many on, and how long they take; None for a model that raises on them."""
    try:
        while True:
            took = _forward(setup, batch, examples)
            if examples == batch.size or took > longest or took * batch.size / examples < _FAST:
                return examples, took
            examples = min(4 * examples, batch.size)
    except Exception:
        return None


def _forward(setup: Setup, batch: Batch, examples: int) -> float:
    """The second call counts where the first takes long: it may have loaded what later ones need."""
    inputs: Any = part_of(batch, examples).inputs
    took = 0.0
    with untouched(setup.model), torch.enable_grad():
        for _ in range(2):
            watch = Budget(0.0)
            outputs_of(setup.model, inputs)
            took = watch.spent
            if took * batch.size / examples < _FAST or took > _LOADING:
                break
    return took
