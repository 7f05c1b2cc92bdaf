"""How grave a lost or grown second moment is."""

from __future__ import annotations

from steadygrad.finding import Level

from .trainable_depth import ROUNDED_OFF


def level_of(logarithm: float) -> Level:
    """Return `error` where the change is beyond what single precision resolves, else `warn`.

    >>> level_of(-14.0), level_of(-60.0)
    (<Level.WARN: 'warn'>, <Level.ERROR: 'error'>)
    """
    return Level.ERROR if abs(logarithm) > ROUNDED_OFF else Level.WARN
