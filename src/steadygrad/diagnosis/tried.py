"""What steps on a copy say about a finding: how grave it is, and in which words."""

from __future__ import annotations

import math

from steadygrad.finding import Level

from .evidence import Comparison


def level_of_comparison(comparison: Comparison | None, untried: Level = Level.INFO) -> Level:
    """Return `error` where the setup breaks and the mended one learns, `warn` where it only stays behind, else `info`.

    Args:
        comparison: what was tried.
        untried: what to say where nothing could be tried.

    >>> level_of_comparison(None)
    <Level.INFO: 'info'>
    """
    if comparison is None:
        return untried
    if not comparison.hurts:
        return Level.INFO
    return Level.ERROR if comparison.breaks else Level.WARN


def words_of_comparison(comparison: Comparison | None, mended: str) -> str:
    """Return a clause with both losses, in units of a constant guess; "" where nothing was tried.

    Args:
        comparison: what was tried.
        mended: what the other run had, in a word.
    """
    if comparison is None:
        return ""
    was, now = comparison.as_it_is.tail[0], comparison.mended.tail[0]
    guess = " that of a constant guess"
    first = f"{_times(was)}{guess}" if math.isfinite(was) else _ENDLESS
    second = f"{_times(now)}{'' if math.isfinite(was) else guess}" if math.isfinite(now) else _ENDLESS
    return f"; after {len(comparison.mended.losses)} steps on a copy the loss is {first} as it is, {second} {mended}"


_ENDLESS = "no longer finite"


def _times(loss: float) -> str:
    return f"{loss:.2g} times"
