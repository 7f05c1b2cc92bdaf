"""Norms of units that stand side by side and are not alike: each part to variance one by its own deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from steadygrad.prediction import unit_parts
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.propagation import scaled
from steadygrad.prediction.unit_parts import UnitPart
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
    held = [p.moments if p.moments and _fits(p.moments, m) else scaled(m, p.level**0.5) for p in parts]
    variances = [max(variance(each), 1e-300) for each in held]
    ones = [scaled(each, v**-0.5) for each, v in zip(held, variances, strict=True)]
    counts = tuple(p.units for p in parts)
    whole = replace(of_units(ones, list(counts), batch), origin=m.origin)
    return replace(x, moments=whole), Apart(counts, tuple(variances))


def _fits(part: Moments, whole: Moments) -> bool:
    return (part.field and part.field.sizes) == (whole.field and whole.field.sizes)
