"""Where populations are trained: in this process, in processes on this machine, on a Ray cluster.

A runner takes populations and yields the outcomes of each as it ends, in any order. It loses none: one that was lost
with its worker is trained again. What it needs for that, worker processes or a connection, it has from the first call
that needs it until it is closed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from steadygrad.errors import SetupError, in_short, not_allowed
from steadygrad.study.outcome import Outcome
from steadygrad.study.point import Point


class Runner(Protocol):
    """What trains populations somewhere, `slots` of them at once."""

    @property
    def slots(self) -> int:
        """How many populations are trained side by side."""

    @property
    def sharing(self) -> int:
        """How many of them share the memory of this machine, or of its device."""

    def __call__(self, populations: Sequence[Sequence[Point]]) -> Generator[list[Outcome], None, None]:
        """Yield outcomes as they come; where the generator is closed, what still trains is given up."""

    def close(self) -> None:
        """Let go of all that was kept between calls; a closed runner may be called again."""


def check_device(device: str) -> None:
    """Raise a `SetupError` unless torch has this device here.

    >>> check_device("cpu")
    """
    import torch

    try:
        torch.ones(1, device=device).item()  # which "meta" has not
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        why = in_short(error)
        raise SetupError(not_allowed("device", f"must be one that torch has here ({why})", device)) from error


def runner(*, workers: int = 0, ray: str | None = None, device: str = "cpu") -> Runner:
    """Return the runner that these arguments of `run` choose.

    Raises:
        ValueError: `workers` is no whole number or below 0, or given together with `ray`.
        SetupError: torch has no such device here; what a cluster has is for its nodes to say.
    """
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise ValueError(not_allowed("workers", "is a number of processes, a whole one, and must be >= 0", workers))
    if ray is not None:
        if workers:
            raise ValueError("`workers` and `ray` exclude each other: give one.")
        from .on_ray import OnRay

        return OnRay(ray, device)
    check_device(device)
    if workers:
        from .processes import Processes

        return Processes(workers, device)
    from .in_process import InProcess

    return InProcess(device)
