"""Units that stand side by side and are not alike: what was joined along the features, behind sums, slices and norms.

A norm of each unit divides by that unit's own deviation, so what goes back through it is multiplied by 1/s² of each
part, whose mean is not that of the mean s²; and a slice takes of a gradient the parts that it covers. Operators of
single units are followed part by part (`operators/by_parts.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .values import Signal


class UnitPart(NamedTuple):
    """How many units are alike, their second moment relative to that of all, and what is known of them beside that.

    `signal` has the axes of the whole; None where a part is as the whole is, but for its size.

    >>> UnitPart(8, 1.5).units
    8
    """

    units: int
    level: float
    signal: Signal | None = None


Parts: TypeAlias = tuple[UnitPart, ...]


def relative(parts: Iterable[tuple[int, float, Signal | None]]) -> Parts | None:
    """Return parts of these units and second moments; None where nothing comes of them.

    >>> relative([(3, 1.0, None), (1, 5.0, None)])
    (UnitPart(units=3, level=0.5, signal=None), UnitPart(units=1, level=2.5, signal=None))
    """
    found = list(parts)
    mean = sum(n * q for n, q, _ in found) / max(count(found), 1)
    return tuple(UnitPart(n, q / mean, s) for n, q, s in found) if mean > 0 else None


def count(parts: Iterable[tuple[int, float, Signal | None]]) -> int:
    """Return how many units there are.

    >>> count((UnitPart(3, 1.0), UnitPart(1, 1.0)))
    4
    """
    return sum(n for n, _, _ in parts)


def within(parts: Parts, first: int, size: int) -> tuple[float, Parts | None]:
    """Return the second moment of some units, relative to that of all, and their parts; None where all are alike.

    Args:
        parts: of all units.
        first: where they start.
        size: how many they are.

    >>> parts = UnitPart(2, 0.5), UnitPart(2, 1.5)
    >>> within(parts, 2, 2), within(parts, 1, 2)[0]
    ((1.5, None), 1.0)
    """
    held = []
    for start, part in placed(parts):
        taken = min(start + part.units, first + size) - max(start, first)
        if taken > 0:
            held.append((taken, part.level, part.signal))
    level = sum(n * q for n, q, _ in held) / max(count(held), 1)
    return level, relative(held) if len(held) > 1 else None


def multiplied(x: Parts | None, factors: Parts) -> tuple[float, Parts | None]:
    """Return the mean of what parts are multiplied by, beyond that of the factors, and the parts that this makes.

    >>> multiplied((UnitPart(1, 0.5), UnitPart(1, 1.5)), (UnitPart(1, 0.5), UnitPart(1, 1.5)))[0]
    1.25
    """
    units = count(factors)
    known = x if x and count(x) == units else (UnitPart(units, 1.0),)
    held = [(n, a.level * b.level, None) for _, n, (a, b) in pieces(known, factors) if a and b]
    return sum(n * q for n, q, _ in held) / units, relative(held)


def pieces(*of: Parts | None) -> Iterator[tuple[int, int, tuple[UnitPart | None, ...]]]:
    """Yield where units start that lie within one part of each, how many they are, and the parts; None if alike.

    >>> [(start, size) for start, size, _ in pieces((UnitPart(1, 0.5), UnitPart(3, 7 / 6)), None, (UnitPart(4, 1.0),))]
    [(0, 1), (1, 3)]
    """
    edges = sorted({start + at for parts in of if parts for start, part in placed(parts) for at in (0, part.units)})
    for start, stop in itertools.pairwise(edges):
        yield start, stop - start, tuple(at(parts, start) if parts else None for parts in of)


def placed(parts: Parts) -> Iterator[tuple[int, UnitPart]]:
    """Yield each part and where it starts.

    >>> [start for start, _ in placed((UnitPart(3, 1.0), UnitPart(1, 1.0)))]
    [0, 3]
    """
    start = 0
    for part in parts:
        yield start, part
        start += part.units


def at(parts: Parts, unit: int) -> UnitPart:
    """Return the part that a unit is one of.

    >>> at((UnitPart(3, 1.0), UnitPart(1, 5.0)), 3).level
    5.0
    """
    return next(part for start, part in placed(parts) if start <= unit < start + part.units)
