"""The numbers that half, bfloat16, single and double precision hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steadygrad.errors import unknown_name

Precision = Literal["float16", "bfloat16", "float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    """A binary floating-point format.

    Attributes:
        name: as NumPy and torch.dtype call it.
        largest: the largest finite number.
        smallest_normal: below it digits are lost.
        smallest: the smallest subnormal; half of it and less is rounded to 0.
        roundoff: unit roundoff u, half the distance from 1 to the next number.

    >>> float_format("float16").largest
    65504.0
    """

    name: str
    largest: float
    smallest_normal: float
    smallest: float
    roundoff: float


def _ieee(name: str, significand: int, exponent: int) -> FloatFormat:
    """From the bits of the significand (the hidden one included) and the largest exponent."""
    return FloatFormat(
        name=name,
        largest=(2.0 - 2.0 ** (1 - significand)) * 2.0**exponent,
        smallest_normal=2.0 ** (1 - exponent),
        smallest=2.0 ** (2 - exponent - significand),
        roundoff=2.0**-significand,
    )


FORMATS: dict[str, FloatFormat] = {
    name: _ieee(name, significand, exponent)
    for name, significand, exponent in (
        ("float16", 11, 15),
        ("bfloat16", 8, 127),
        ("float32", 24, 127),
        ("float64", 53, 1023),
    )
}


def float_format(name: str) -> FloatFormat:
    """Return a format by its name.

    Raises:
        ValueError: for a name that is not in `FORMATS`.

    References: IEEE 754-2019, table 3.5.

    >>> float_format("bfloat16").roundoff
    0.00390625
    """
    if name not in FORMATS:
        raise ValueError(unknown_name("precision", name, FORMATS))
    return FORMATS[name]
