"""How much of a signal may be lost over the depth of a network before it stops learning."""

from __future__ import annotations

import math

# Schoenholz et al. 2017 (section 5) saw networks train up to about six depth scales, xi. A second moment that falls by
# the factor r a layer has xi = -1/ln r; six of them leave e^-6 of it. The signal on its way to the head and the
# gradient on its way back lose alike, and the two multiply in the first weight's update: 12 in the logarithm of a
# second moment is where either way alone loses what the two may lose together.
LOST = 12.0

# Beyond this a relative second moment is below the square of single precision's unit roundoff: rounding is larger.
ROUNDED_OFF = 2 * 24 * math.log(2.0)

# A second moment grown by more is beyond single precision's largest number, 2^128: squares of what has it are infinite.
OVERFLOWS = 128 * math.log(2.0)


def log_ratio(value: float, reference: float) -> float:
    """Return ln(value / reference), -inf where nothing is left, NaN where there was nothing to begin with.

    >>> log_ratio(0.0, 2.0), log_ratio(2.0, 2.0)
    (-inf, 0.0)
    """
    if math.isnan(value) or not 0 < reference < math.inf:
        return math.nan
    if value <= 0:
        return -math.inf
    return math.log(value) - math.log(reference) if value < math.inf else math.inf


def is_lost(logarithm: float) -> bool:
    """Return whether a logarithm of second moments says that what came is out of reach at the other end.

    >>> is_lost(-11.9), is_lost(-12.1), is_lost(float("nan"))
    (False, True, False)
    """
    return logarithm < -LOST


def written(logarithm: float) -> str:
    """Return a factor by its natural logarithm, in decimal notation, which may lie outside of what a float holds.

    >>> written(-53.8), written(float("-inf")), written(0.0)
    ('4.3e-24', '0', '1')
    """
    if not math.isfinite(logarithm):
        return "0" if logarithm < 0 else "infinity"
    exponent = math.floor(logarithm / math.log(10))
    digits = 10 ** (logarithm / math.log(10) - exponent)
    return f"{digits:.1f}e{exponent:+03d}" if abs(exponent) > 2 else f"{digits * 10.0**exponent:.2g}"


def rounding(second_moment: float, eps: float) -> float:
    """Return the second moment of the rounding errors of numbers with this one: a difference below it is noise.

    Args:
        second_moment: q of the numbers.
        eps: distance from 1 to the next number of their format.

    >>> rounding(4.0, 0.5)
    1.0
    """
    return second_moment * eps**2
