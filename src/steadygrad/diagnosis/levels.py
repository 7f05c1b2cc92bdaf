"""How grave a lost or grown second moment is."""

from __future__ import annotations

from steadygrad.finding import Level

from .trainable_depth import OVERFLOWS, ROUNDED_OFF


def level_of(logarithm: float) -> Level:
    """Return `error` for a loss beyond what single precision resolves, or growth beyond what it holds, else `warn`.

    >>> level_of(-14.0), level_of(-60.0), level_of(60.0), level_of(90.0)
    (<Level.WARN: 'warn'>, <Level.ERROR: 'error'>, <Level.WARN: 'warn'>, <Level.ERROR: 'error'>)
    """
    return Level.ERROR if logarithm < -ROUNDED_OFF or logarithm > OVERFLOWS else Level.WARN
