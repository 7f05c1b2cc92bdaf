"""`run`: the points of a spec that have no record yet, trained, and all records returned."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import pyarrow as pa

from .budget import check_grid, populations, record_bytes
from .data import load
from .folder import Folder
from .outcome import Outcome
from .point import Point
from .population.losses import check_targets
from .record import record_schema
from .results import Results, in_order
from .runners import Runner, runner
from .spec import Spec

# Outcomes that stand in memory as rows, ten times as large as in a table.
_AS_ROWS = 1000
# Told of each outcome as it comes: how many are done, and of how many.
Progress = Callable[[int, int], None]


def run(
    spec: Spec | str | Path,
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int = 0,
    ray: str | None = None,
    device: str = "cpu",
    extend: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Train every point of a spec, and return the records in the order of its points.

    With `out`, records are kept there as they come, and a second call computes only what is not there.

    Args:
        spec: a `Spec`, or the path of a TOML file.
        out: a folder or an fsspec URL; nowhere by default.
        workers: processes on this machine, each with one thread; 0 trains in this process.
        ray: the address of a Ray cluster ("auto" finds a running one, "local" starts one here).
        device: where this process or each worker trains: "cpu" or "cuda".
        extend: whether `out` may hold the results of another spec, to which these are added.
        progress: called with (networks done, networks in all).

    Raises:
        SpecError: the spec cannot be used.
        SetupError: data cannot be had, or a loss cannot be of its targets.
        TooLargeError: the grid, or a network of it, needs more memory than there is.
        StoreError: `out` belongs to another spec, or cannot be written; what is there stays.
        WorkerLostError: worker processes end as they start, or are lost again and again with the same networks.

    >>> spec = Spec.of(name="example", fixed={"depth": 2, "width": 16, "activation": "relu", "steps": 20},
    ...                product={"initializer": ["xavier-normal", "he-normal"]}, seeds=2)
    >>> results = run(spec)
    >>> results.column("initializer").tolist(), results.column("steps_done").tolist()
    (['xavier-normal', 'xavier-normal', 'he-normal', 'he-normal'], [20, 20, 20, 20])
    """
    made = spec if isinstance(spec, Spec) else Spec.read(spec)
    points = _points(made)
    with closing(runner(workers=workers, ray=ray, device=device)) as chosen:
        if out is None:
            return _collected(points, chosen, device, progress)
        return _kept(Folder(out, made, points, extend=extend), points, chosen, device, progress)


def run_on(chosen: Runner, spec: Spec, *, out: str, device: str, progress: Progress | None) -> Results:
    """Do what `run` does, on a runner that is there, which stays open for the next spec.

    Args:
        chosen: the runner.
        spec: what to train.
        out: where records are kept.
        device: where the runner trains.
        progress: as `run` takes it.
    """
    points = _points(spec)
    return _kept(Folder(out, spec, points), points, chosen, device, progress)


def _points(spec: Spec) -> list[Point]:
    record = record_bytes(depth=max(spec.values("depth")), curve=max(spec.values("curve"), default=Point.curve))
    check_grid(spec.lengths(), record=record)
    return list(spec.points())


def _collected(points: list[Point], chosen: Runner, device: str, progress: Progress | None) -> Results:
    schema, tables = record_schema(), []
    with closing(_outcomes(points, chosen, device, (0, len(points)), progress)) as outcomes:
        while some := [outcome.row() for outcome in islice(outcomes, _AS_ROWS)]:
            tables.append(pa.Table.from_pylist(some, schema=schema))
    return in_order(pa.concat_tables(tables), [point.identity for point in points])


def _kept(folder: Folder, points: list[Point], chosen: Runner, device: str, progress: Progress | None) -> Results:
    done = folder.done()
    left = [point for point in points if point.identity not in done]
    try:
        with closing(_outcomes(left, chosen, device, (len(points) - len(left), len(points)), progress)) as outcomes:
            for outcome in outcomes:
                folder.add([outcome])
    finally:
        folder.flush()  # on Ctrl-C too: what has ended is kept
    return in_order(folder.table(), [point.identity for point in points])


def _outcomes(
    points: Sequence[Point], chosen: Runner, device: str, count: tuple[int, int], progress: Progress | None
) -> Generator[Outcome, None, None]:
    for loss, data in sorted({(point.loss, point.data) for point in points}):
        check_targets(loss, load(data))
    done, total = count
    if progress is not None:
        progress(done, total)
    made = populations(points, device=device, slots=chosen.slots, sharing=chosen.sharing)
    with closing(chosen(made)) as ended:
        for outcomes in ended:
            done += len(outcomes)
            yield from outcomes
            if progress is not None:
                progress(done, total)
