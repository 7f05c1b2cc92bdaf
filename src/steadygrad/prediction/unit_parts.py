"""Units that stand side by side and are not alike: what was joined along the features, behind sums, slices and norms.

A norm of each unit divides by that unit's own deviation, so what goes back through it is multiplied by 1/s² of each
part, whose mean is not that of the mean s²; and a slice takes of a signal the parts that it covers. Behind a function,
a factor or a dropout parts are taken for one: approximate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .values import Moments


class UnitPart(NamedTuple):
    """How many units are alike, their second moment relative to that of all, and their moments, where they are known.

    >>> UnitPart(8, 1.5).units
    8
    """

    units: int
    level: float
    moments: Moments | None = None


Parts: TypeAlias = tuple[UnitPart, ...]


def relative(parts: Iterable[tuple[int, float, Moments | None]]) -> Parts | None:
    """Return parts of these units and second moments; None where nothing comes of them.

    >>> relative([(3, 1.0, None), (1, 5.0, None)])
    (UnitPart(units=3, level=0.5, moments=None), UnitPart(units=1, level=2.5, moments=None))
    """
    found = list(parts)
    mean = sum(n * q for n, q, _ in found) / max(count(found), 1)
    return tuple(UnitPart(n, q / mean, m) for n, q, m in found) if mean > 0 else None


def count(parts: Iterable[tuple[int, float, Moments | None]]) -> int:
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
            held.append((taken, part.level, part.moments))
    level = sum(n * q for n, q, _ in held) / max(count(held), 1)
    return level, relative(held) if len(held) > 1 else None


def combined(
    x: Parts | None,
    y: Parts | None,
    shares: tuple[float, float],
    units: int,
    added: Callable[[Moments | None, Moments | None, int], Moments | None] | None = None,
) -> Parts | None:
    """Return the parts of a sum of independent terms.

    Args:
        x: parts of the one; None where all of its units are alike.
        y: parts of the other.
        shares: of the sum's second moment that each term has.
        units: how many there are.
        added: the moments of a sum of so many units, of those of both terms; without it none are known.

    >>> combined((UnitPart(1, 0.5), UnitPart(1, 1.5)), None, (0.5, 0.5), 2)
    (UnitPart(units=1, level=0.75, moments=None), UnitPart(units=1, level=1.25, moments=None))
    """
    x, y = (p if p and count(p) == units else None for p in (x, y))
    if x is None and y is None:
        return None
    alike = (UnitPart(units, 1.0),)
    return relative(
        (n, shares[0] * a.level + shares[1] * b.level, added(a.moments, b.moments, n) if added else None)
        for n, a, b in _met(x or alike, y or alike)
    )


def multiplied(x: Parts | None, factors: Parts) -> tuple[float, Parts | None]:
    """Return the mean of what parts are multiplied by, beyond that of the factors, and the parts that this makes.

    >>> multiplied((UnitPart(1, 0.5), UnitPart(1, 1.5)), (UnitPart(1, 0.5), UnitPart(1, 1.5)))[0]
    1.25
    """
    units = count(factors)
    known = x if x and count(x) == units else (UnitPart(units, 1.0),)
    held = [(n, a.level * b.level, None) for n, a, b in _met(known, factors)]
    return sum(n * q for n, q, _ in held) / units, relative(held)


def _met(x: Parts, y: Parts) -> Iterator[tuple[int, UnitPart, UnitPart]]:
    """Yield how many units lie within one part of either, and both parts."""
    edges = sorted({start + at for parts in (x, y) for start, part in placed(parts) for at in (0, part.units)})
    for start, stop in itertools.pairwise(edges):
        a, b = (next(p for s, p in placed(parts) if s <= start < s + p.units) for parts in (x, y))
        yield stop - start, a, b


def placed(parts: Parts) -> Iterator[tuple[int, UnitPart]]:
    """Yield each part and where it starts.

    >>> [start for start, _ in placed((UnitPart(3, 1.0), UnitPart(1, 1.0)))]
    [0, 3]
    """
    start = 0
    for part in parts:
        yield start, part
        start += part.units
