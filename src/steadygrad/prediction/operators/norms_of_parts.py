"""Norms of units that stand side by side and are not alike: each part to variance one by its own deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from steadygrad.prediction import unit_parts
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.propagation import scaled
from steadygrad.prediction.unit_parts import Parts, UnitPart
from steadygrad.prediction.values import Moments, Signal, Statistic

from .joins import of_units


@dataclass(frozen=True, slots=True)
class Apart:
    """How many units each part has, and their variance.

    >>> Apart((2, 2), (1.0, 3.0)).damped(1.0)
    0.625
    """

    units: tuple[int, ...]
    variances: tuple[float, ...]

    def damped(self, eps: float) -> float:
        """Return what is left of variance one where this is added to what is divided by."""
        return self._mean([v / (v + eps) for v in self.variances])

    def inverse(self, whole: Statistic, share: float, eps: float) -> Statistic:
        """Return the inverse variance of all, and of each part; `share` is 1/(E[s²] E[1/s²]) of a unit's variance."""
        found = [1 / (v * share + eps) for v in self.variances]
        mean = self._mean(found)
        parts = tuple(UnitPart(n, x / mean) for n, x in zip(self.units, found, strict=True))
        return replace(whole, inverse=mean, unit_parts=parts)

    def _mean(self, numbers: list[float]) -> float:
        return sum(n * x for n, x in zip(self.units, numbers, strict=True)) / sum(self.units)


def equalized(x: Signal, units: int, batch: Batch, variance: Callable[[Moments], float]) -> tuple[Signal, Apart | None]:
    """Return a signal with each of its parts at variance one, and what each had; as it is where all units are alike.

    Args:
        x: over positions.
        units: how many it has.
        batch: the batch.
        variance: of a unit of these moments.
    """
    parts, m = x.unit_parts, x.moments
    if parts is None or unit_parts.count(parts) != units:
        return x, None
    held = [_moments(p, m) for p in parts]
    variances = [max(variance(each), 1e-300) for each in held]
    ones = [scaled(each, v**-0.5) for each, v in zip(held, variances, strict=True)]
    counts = tuple(p.units for p in parts)
    whole = replace(of_units(ones, list(counts), batch), origin=m.origin)
    return replace(x, moments=whole), Apart(counts, tuple(variances))


def in_groups(x: Signal, units: int, group: int, batch: Batch) -> Signal:
    """Return a signal whose parts are groups of so many units; one that several parts share is a mixture of them."""
    parts = x.unit_parts
    if parts is None or unit_parts.count(parts) != units:
        return x
    parts = sized(parts, x)
    found: list[UnitPart] = []
    for first in range(0, units, group):
        level, held = unit_parts.within(parts, first, group)
        held = held or (next(p for start, p in unit_parts.placed(parts) if first < start + p.units),)
        each = [p.signal for p in held if p.signal is not None]
        if len(each) > 1:
            each = [replace(x, moments=of_units([s.moments for s in each], [p.units for p in held], batch))]
        found.append(UnitPart(group, level, each[0]))
    return replace(x, unit_parts=_merged(found))


def _merged(groups: list[UnitPart]) -> Parts:
    """Return groups of the same moments, one after the other, as one part."""
    found: list[UnitPart] = []
    for part in groups:
        if found and found[-1].signal is part.signal:
            found[-1] = part._replace(units=found[-1].units + part.units)
        else:
            found.append(part)
    return tuple(found)


def sized(parts: Parts, x: Signal) -> Parts:
    """Return the parts of a signal; one of which its size alone is known is as the whole is, as large as it is."""
    return tuple(p if p.signal else p._replace(signal=_as_large(x, p.level)) for p in parts)


def _as_large(x: Signal, level: float) -> Signal:
    m = scaled(x.moments, level**0.5)
    return replace(x, moments=m, wave=None, base=None if x.base is None else m, parts=None, unit_parts=None)


def _moments(part: UnitPart, whole: Moments) -> Moments:
    """Return the moments of a part, where these are not known those of all, as large as it is."""
    known = part.signal.moments if part.signal else None
    if known is not None and (known.field and known.field.sizes) == (whole.field and whole.field.sizes):
        return known
    return scaled(whole, part.level**0.5)
