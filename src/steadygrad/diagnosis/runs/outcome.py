"""What became of a run: how much of the loss went, and what went wrong on the way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .level import Level, last_fifth, level
from .trend import SURE, trend

# A run says something of its course from here on: its last fifth is then ten steps, its second half twenty-five.
LEAST_STEPS = 50

# A loss that has risen to twice where it began is above what a step of the right size does; along its way to the edge
# of stability a healthy run rises by less (Cohen et al. 2021, figures 4 and 5).
_TWICE = 2.0

# Less than this part of the loss is nothing that a run has learned.
WORTH = 0.01

# A part of the loss that no noise of outputs takes off.
_TENTH = 0.1

# Steps that a rise must last: a single batch of hard examples is no spike of the run.
_LASTS = 5


@dataclass(frozen=True, kw_only=True)
class Course:
    """The losses of a run beside those that the data had at its start.

    Attributes:
        losses: one a step; the last may not be finite.
        start: losses of batches at the first weights; where empty, the first losses stand in.
        nonfinite: "loss", "gradient" or "weights" where the run ended by one; "" otherwise.
        end: losses of the same batches at the last weights.
        constant: losses of the same batches under the best constant output; empty where that is not known.
        period: steps in a pass over the data; None where there was no second one.
    """

    losses: Sequence[float]
    start: Sequence[float] = ()
    nonfinite: str = ""
    end: Sequence[float] = ()
    constant: Sequence[float] = ()
    period: int | None = None

    @property
    def began(self) -> Level:
        """The level at the first weights."""
        return level(self.start or self.losses[:_LASTS])

    @property
    def ended(self) -> Level:
        """The level of the last fifth; infinite where the run ended by a number that is not finite."""
        return Level(math.inf, math.nan, math.nan) if self.nonfinite else last_fifth(self.losses)

    @property
    def scale(self) -> float:
        """What a change of the loss is compared with: its size at the start."""
        return max(abs(self.began.value), self.began.spread)

    @property
    def reference(self) -> float:
        """What a run must get below to have made something of its inputs: a constant output's loss, or the start's."""
        return min(level(self.constant).value, self.began.value) if self.constant else self.began.value

    def is_better(self) -> bool:
        """Return whether batches end below where they began, and below a constant output if that is lower.

        Each batch is compared with itself: by the sign test beyond three standard errors, and by a hundredth of the
        loss in the median. Where few examples make most of the loss, as rare events do, most batches have none of them
        and say nothing: a tenth below the constant in the mean is enough, since that is the best in the mean.
        """
        pairs = self._pairs()
        lower = sum(difference > 0 for difference in pairs)
        sure = 2 * lower - len(pairs) > SURE * math.sqrt(len(pairs))
        return (sure and level(pairs).value > WORTH * abs(self.reference)) or self._is_below_the_best_constant()

    def _is_below_the_best_constant(self) -> bool:
        constant, end = _mean(self.constant), _mean(self.end)
        return constant - end > _TENTH * abs(constant) and _mean(self.start) > end

    def _pairs(self) -> list[float]:
        constant = self.constant if self.constant and level(self.constant).value < self.began.value else self.start
        return [was - now for was, now in zip(constant, self.end, strict=False)]

    def gain(self, steps: int | None = None, *, below: float | None = None) -> float:
        """How much lower than the start, or than another loss, the run stands after so many steps.

        It is -inf where the run had ended by then in a number that is not finite.

        >>> Course(losses=[2.0] * 5 + [1.0] * 5).gain()
        1.0
        """
        if self.nonfinite and (steps is None or len(self.losses) <= steps):
            return -math.inf
        return (self.began.value if below is None else below) - last_fifth(self.losses, steps).value

    def later_trend(self) -> float:
        """The z score of the trend of the second half."""
        return trend(self.losses[len(self.losses) // 2 :], period=self.period)


def diverges(course: Course) -> bool:
    """Return whether a run ended by a number that is not finite, or stands at twice its start and still rises.

    >>> diverges(Course(losses=[1.0 + 0.1 * i for i in range(100)])), diverges(Course(losses=[1.0] * 100))
    (True, False)
    """
    if course.nonfinite:
        return True
    return _has_risen(course, course.ended.value) and course.later_trend() > SURE


def spike(course: Course) -> int | None:
    """Return the step at which a loss that had fallen rose to twice its start, where it came back; None otherwise.

    The median of five losses in a row counts, so that one hard batch is none.

    >>> spike(Course(losses=[2.0] * 5 + [1.0] * 20 + [50.0] * 9 + [0.5] * 60))
    25
    """
    if course.nonfinite or not course.ended.value < course.began.value:
        return None
    windows = _medians(course.losses)
    fell = next((i for i, x in enumerate(windows) if x < course.began.value - 3 * course.began.error), None)
    if fell is None:
        return None
    risen = next((i for i in range(fell, len(windows)) if _has_risen(course, windows[i])), None)
    return None if risen is None else risen + _LASTS // 2


def oscillates(course: Course) -> bool:
    """Return whether a run jumps about at or above where it began: half of its later steps by more than half of that.

    >>> oscillates(Course(losses=[3.0, 9.0] * 50, start=[1.0])), oscillates(Course(losses=[1.0, 0.9] * 50))
    (True, False)
    """
    if course.nonfinite or len(course.losses) < LEAST_STEPS or diverges(course):
        return False
    half = np.asarray(course.losses[len(course.losses) // 2 :])
    jump = float(np.median(np.abs(np.diff(half))))
    natural = course.began.spread
    return jump > max(course.scale / 2, 5 * natural) and bool(np.median(half) > course.began.value)


def stands_still(course: Course) -> bool:
    """Return whether a run has ended no better than a constant output and no longer falls.

    Where the constant's loss is not known, the loss at the start stands in. Falling is told from noise by ranks.

    >>> stands_still(Course(losses=[1.0, 1.1] * 50)), stands_still(Course(losses=[1 / (1 + i) for i in range(100)]))
    (True, False)
    """
    if course.nonfinite or len(course.losses) < LEAST_STEPS:
        return False
    return is_high(course) and not course.is_better() and course.later_trend() > -SURE


def is_high(course: Course) -> bool:
    """Return whether a run has ended no better than a constant output, or the start where that is not known.

    A hundredth of the loss below it is no better, however sure.

    >>> is_high(Course(losses=[1.0, 1.1] * 50))
    True
    """
    noise = math.hypot(course.began.error, course.ended.error)
    return course.ended.value > course.reference - max(SURE * noise, WORTH * abs(course.reference))


def _mean(losses: Sequence[float]) -> float:
    return statistics.fmean(losses) if losses else math.nan


def _has_risen(course: Course, to: float) -> bool:
    highest = max(course.start or course.losses[:_LASTS])
    return to > max(course.began.value + (_TWICE - 1) * course.scale, highest)


def _medians(losses: Sequence[float]) -> list[float]:
    if len(losses) < _LASTS:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(losses, dtype=float), _LASTS)
    return [float(x) for x in np.median(windows, axis=1)]
