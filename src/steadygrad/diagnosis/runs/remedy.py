"""Whether a run with one thing changed went so much better that the change is what the run needed."""

from __future__ import annotations

import math

from .level import level
from .outcome import Course

# The least part of the loss that a change must take off to be worth a word.
PART = 0.1

# A loss that falls at all falls at most in proportion to the rate: what halves the rate and takes off twice as much
# has no other explanation than that the rate was too high.
_MORE = 2.0


def mends(changed: Course, was: Course, *, steps: int, more: float = _MORE, below: float | None = None) -> bool:
    """Return whether in as many steps a changed run took off more of the loss: in ratio, in size and beyond noise.

    Args:
        changed: the run with one thing changed.
        was: the run as it is.
        steps: that both are compared after, >= 1.
        more: how many times as much of the loss it must take off.
        below: where what it takes off is counted from; the start where it is None.

    >>> was, changed = Course(losses=[2.0] * 100), Course(losses=[2.0] * 20 + [1.0] * 80)
    >>> mends(changed, was, steps=100), mends(was, changed, steps=100)
    (True, False)
    """
    gain = changed.gain(steps, below=below)
    lower = level([before - after for before, after in zip(changed.start, changed.end, strict=False)])
    sure = 3 * (lower.error if changed.end else math.hypot(changed.began.error, changed.ended.error))
    scale = was.scale if below is None else abs(below)
    return gain > more * max(was.gain(steps, below=below), 0.0) and gain > max(PART * scale, sure)
