"""Populations one after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from steadygrad.study.outcome import Outcome
from steadygrad.study.point import Point
from steadygrad.study.population.lockstep import train


class InProcess:
    """Trains here, with as many threads as torch has.

    Args:
        device: where.
    """

    slots = sharing = 1

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def __call__(self, populations: Sequence[Sequence[Point]]) -> Generator[list[Outcome], None, None]:
        """Yield the outcomes of each population."""
        for population in populations:
            yield train(population, device=self._device)

    def close(self) -> None:
        """Nothing is kept."""
