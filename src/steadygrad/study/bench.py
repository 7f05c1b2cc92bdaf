"""What a built-in study works with, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from .results import Results
from .run import Progress, run_on
from .runners import Runner, runner
from .spec import Spec


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where a built-in study trains its grids and leaves its pages.

    Its workers are started by the first spec that needs them, train the others too, and end when the bench is closed:
    use it with `with`.

    Attributes:
        out: the study's folder, or an fsspec URL; the records of a spec are kept in a folder of its name below it.
        workers: processes on this machine; 0 trains in this process.
        ray: the address of a Ray cluster.
        device: where each worker trains.
        progress: called with (networks done, networks in all) of the grid that runs.
    """

    out: str
    workers: int = 0
    ray: str | None = None
    device: str = "cpu"
    progress: Progress | None = None

    def run(self, spec: Spec) -> Results:
        """Return the records of a spec; what is there already is not computed again."""
        place = f"{self.out.rstrip('/')}/{spec.name}"
        return run_on(self._runner, spec, out=place, device=self.device, progress=self.progress)

    @cached_property
    def _runner(self) -> Runner:
        return runner(workers=self.workers, ray=self.ray, device=self.device)

    def close(self) -> None:
        """End the workers; a spec that comes later starts them anew."""
        started: Runner | None = vars(self).pop("_runner", None)
        if started is not None:
            started.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What came out of a built-in study.

    Attributes:
        sentences: what holds, with what limits, and how far off; a line each.
        holds: whether every prediction that the study checks itself against holds.
        files: where what was written is: the page first.
    """

    sentences: tuple[str, ...]
    holds: bool
    files: tuple[str, ...] = ()


Study = Callable[[Bench], Conclusion]
