"""The operator that made the first number that is not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.paths import at_line
from steadygrad.measurement import Operation
from steadygrad.measurement.bad_number import BadNumber, remedy

from .collector import Collector, Unavailable
from .traced import Traced


@dataclass(frozen=True, kw_only=True)
class NonfiniteOrigin:
    """Where it began, forward and backward; None where all was finite, or where operators could not be traced.

    Attributes:
        forward: the operator, and what it was given.
        backward: the operator of the forward pass whose derivative it was, and what that was given.
        traced: whether operators could be traced.
    """

    forward: tuple[Operation, BadNumber] | None
    backward: tuple[Operation, BadNumber] | None
    traced: bool = True

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Ask the operators, where they are known."""
        try:
            run = collector.get(Traced).operations
        except Unavailable:
            return cls(forward=None, backward=None, traced=False)
        return cls(forward=run.forward_bad, backward=run.backward_bad)


def said(origin: tuple[Operation, BadNumber] | None, *, backward: bool = False) -> str:
    """Return a sentence about the operator, with a blank before it; "" where it is not known.

    >>> said(None)
    ''
    """
    if origin is None:
        return ""
    operation, bad = origin
    what = f"the derivative of `{operation.name}`" if backward else f"`{operation.name}`"
    given = f": {bad.given}" if bad.given and not backward else ""
    return f" It begins with {what}{at_line(operation.line)}{given}."


def mended(origin: tuple[Operation, BadNumber] | None, otherwise: str) -> str:
    """Return what to do about the operator, or about such operators in general.

    >>> mended(None, "Keep away.")
    'Keep away.'
    """
    if origin and origin[1].overflowed:
        return f"What `{origin[0].name}` is given has grown too large: lower the scale of what comes before it."
    known = remedy(origin[0].name) if origin else ""
    return (
        f"{known[0].upper()}{known[1:]}." if known.strip() and known[0] != "`" else f"{known}." if known else otherwise
    )
