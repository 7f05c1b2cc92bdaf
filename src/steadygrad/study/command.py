"""`steadygrad study`: from its arguments to the text that it prints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from steadygrad.errors import SteadygradError, not_allowed
from steadygrad.store import Place

from . import builtin
from .bench import Bench, Conclusion
from .progress import bar
from .run import run
from .runners import check_device
from .spec import Spec
from .summary import summarize


class Interrupted(SteadygradError):
    """The user stopped a study; what had ended is kept."""


def study(
    spec: str,
    *,
    out: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    extend: bool = False,
) -> tuple[str, bool]:
    """Run a TOML file's grid or a built-in study, with a bar; return what to print, and whether all of it holds.

    Args:
        spec: the path of a TOML file, or the name of a built-in study.
        out: where records are kept; studies/NAME by default.
        workers: as `run` takes it; one a core by default.
        ray: as `run` takes it.
        device: as `run` takes it.
        extend: as `run` takes it.

    Raises:
        Interrupted: the user stopped it.
    """
    count = _cores(ray, device) if workers is None else workers
    if not spec.endswith(".toml"):
        if extend:
            raise ValueError(not_allowed("--extend", "is for a SPEC.toml", spec))
        return _built_in(spec, out or f"studies/{spec}", workers=count, ray=ray, device=device)
    made = Spec.read(spec)
    place = out or f"studies/{made.name}"
    with _kept_on_interrupt(place), bar(made.name) as progress:
        results = run(made, out=place, workers=count, ray=ray, device=device, extend=extend, progress=progress)
    return f"{summarize(made, results)}\nRecords: {place}", True


def _cores(ray: str | None, device: str) -> int:
    """A process for each core that this one may use; none beside a cluster or an accelerator."""
    if ray is not None or device != "cpu":
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _built_in(name: str, place: str, *, workers: int, ray: str | None, device: str) -> tuple[str, bool]:
    found = builtin.study(name)
    if ray is None:
        check_device(device)
    Place(place).make()
    with (
        _kept_on_interrupt(place),
        bar(name) as progress,
        Bench(out=place, workers=workers, ray=ray, device=device, progress=progress) as bench,
    ):
        conclusion = found(bench)
    return _words(conclusion), conclusion.holds


def _words(conclusion: Conclusion) -> str:
    written = [f"Wrote {file}" for file in conclusion.files]
    return "\n".join([*conclusion.sentences, *written])


@contextmanager
def _kept_on_interrupt(place: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what had ended is kept in {place}: the same command goes on from there.") from None
