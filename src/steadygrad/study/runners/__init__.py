"""Where populations are trained: in this process, in processes on this machine, on a Ray cluster.

A runner takes populations and yields the outcomes of each as it ends, in any order. It loses none: one that was lost
with its worker is trained again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from steadygrad.study.outcome import Outcome
from steadygrad.study.point import Point


class Runner(Protocol):
    """What trains populations somewhere."""

    def __call__(self, populations: Sequence[Sequence[Point]]) -> Iterator[list[Outcome]]:
        """Yield the outcomes of each population as it ends."""


def runner(*, workers: int = 0, ray: str | None = None, device: str = "cpu") -> Runner:
    """Return the runner that these arguments of `run` choose."""
    from .in_process import InProcess

    return InProcess(device)
