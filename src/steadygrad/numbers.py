"""Numbers as a reader takes them in at a glance."""

from __future__ import annotations

import math

UNKNOWN = "?"


def short(value: float, digits: int = 3) -> str:
    """Return a number in at most `digits` significant digits; ``"?"`` for what is not known.

    >>> [short(x) for x in (0.0, 1.0, 0.3333, 1234.5, 2.68e-16, float("nan"), float("inf"))]
    ['0', '1', '0.333', '1.23e3', '2.68e-16', '?', 'inf']
    """
    if math.isnan(value):
        return UNKNOWN
    if value == 0 or math.isinf(value) or 1e-3 <= abs(value) < 10**digits:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def band(low: float, high: float) -> str:
    """Return a band, each end in two digits; one number where both ends read the same.

    >>> band(0.5, 2.0), band(1.0, 1.0), band(float("nan"), 1.0)
    ('0.5–2', '1', '?')
    """
    ends = short(low, 2), short(high, 2)
    if UNKNOWN in ends:
        return UNKNOWN
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one.

    >>> count(1, "error"), count(3, "warning")
    ('1 error', '3 warnings')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
