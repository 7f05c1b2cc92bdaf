"""Whether steps of training make up for a first loss that is too large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from .collector import Collector, Unavailable
from .constant_guess import constant_guess
from .loss_run import LossRun
from .loud_start import LoudStart, LoudStarts, loud_start
from .rescaled import AsItIs, Steps
from .sampled import Sampled

# The steps end no worse than a constant guess: as far as so many standard errors tell.
_STANDARD_ERRORS = 2


@dataclass(frozen=True, kw_only=True)
class FirstLoss:
    """The first loss that is too large.

    Attributes:
        loud: None where the start is calm.
        steps: some steps of training on a copy, in units of a constant guess's loss; None where none could be tried.
    """

    loud: LoudStart | None
    steps: Steps | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Take steps where a first loss is too large."""
        pair = collector.get(LoudStarts).pair
        loud = None if pair is None else loud_start(pair)
        return cls(loud=loud, steps=None if loud is None else _tried(collector))

    @property
    def is_made_up(self) -> bool:
        """Whether those steps end no worse than a constant guess, as far as their spread can tell.

        >>> start = LoudStart(of_classes=True, value=20.0, calm=2.0, error=1.0, count=9, is_grave=True)
        >>> calm, wild = (Steps(losses=(9.0, x, x), finished=True) for x in (0.5, 5.0))
        >>> [FirstLoss(loud=start, steps=steps).is_made_up for steps in (calm, wild, None)]
        [True, False, False]
        """
        if self.steps is None:
            return False
        loss, error = self.steps.tail
        return loss - _STANDARD_ERRORS * error <= 1.0


def _tried(collector: Collector) -> Steps | None:
    setup = collector.setup
    if setup.optimizer is None or setup.loss_fn is None:
        return None
    try:
        baseline = constant_guess(setup, collector.get(LossRun), collector.get(Sampled).batches)
        return collector.get(AsItIs).over(baseline) if 0 < baseline < math.inf else None
    except Unavailable:
        return None
    except Exception as error:
        collector.note(f"No steps on a copy could be tried: {type(error).__name__}: {error}")
        return None
