"""Worker processes: the same numbers, errors that are theirs, and networks that take them down."""

import contextlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from steadygrad.errors import UserCodeError
from steadygrad.study import Bench, Spec, run
from steadygrad.study.point import Point
from steadygrad.study.runners import runner
from steadygrad.study.runners.tasks import MOST_LOSSES, TASK_SECONDS, Tasks, WorkerLostError

FIXED = {"data": "gaussian", "examples": 128, "depth": 2, "width": 8, "activation": "tanh"}


def test_processes_give_what_this_process_gives():
    spec = Spec.of(name="p", fixed=FIXED, product={"steps": [5, 10], "sigma_w": [1.0, 2.0]}, seeds=2)
    seen = []
    here = run(spec)  # first, since libraries set variables of their own as they are imported
    before = dict(os.environ)
    there = run(spec, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert there.column("id").tolist() == here.column("id").tolist()
    # Populations differ in size, and so does the order of sums in float32.
    assert there.column("test_loss") == pytest.approx(here.column("test_loss"), rel=1e-4)
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)
    assert dict(os.environ) == before


def test_an_error_in_a_worker_is_raised_here():
    spec = Spec.of(name="p", fixed={**FIXED, "data": "hostile_data:broken"})
    with pytest.raises(UserCodeError, match="'hostile_data:broken' raised OSError: the share is not mounted"):
        run(spec, workers=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads signal masks in /proc")
def test_a_worker_is_deaf_to_ctrl_c_from_its_first_moment():
    others = crew()
    with contextlib.closing(runner(workers=1)) as workers:
        worker = workers._worker()
        try:
            (pid,) = crew() - others
            status = Path(f"/proc/{pid}/status").read_text()
        finally:
            worker.end()
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
    assert blocked >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_networks_that_take_their_worker_down_are_named():
    spec = Spec.of(name="p", fixed={**FIXED, "data": "hostile_data:deadly"})
    with pytest.raises(WorkerLostError, match=f"1 networks of depth 2 and width 8 were lost {MOST_LOSSES} times"):
        run(spec, workers=1)


def crew():
    return {process.pid for process in multiprocessing.active_children()}


def test_one_crew_trains_all_specs_of_a_bench(tmp_path):
    """Also where one of it is killed while it waits, which nobody notices before it is needed."""
    first, second = (Spec.of(name=f"steps-{n}", fixed={**FIXED, "steps": n}, seeds=4) for n in (5, 10))
    others = crew()
    with Bench(out=str(tmp_path), workers=2) as bench:
        bench.run(first)
        kept = crew() - others
        assert len(kept) == 2
        bench.run(first)  # all of it is there: nothing to train
        assert crew() - others == kept
        os.kill(min(kept), signal.SIGKILL)
        there = bench.run(second)
        assert len(crew() - others) == 2
        assert max(kept) in crew()
    assert crew() == others
    assert there.column("test_loss") == pytest.approx(run(second).column("test_loss"), rel=1e-4)


def interrupt(done, total):
    if done:
        raise KeyboardInterrupt


def test_a_crew_ends_with_its_bench_whatever_ends_that(tmp_path):
    spec = Spec.of(name="p", fixed=FIXED, product={"steps": [5, 10], "sigma_w": [1.0, 2.0]}, seeds=2)
    broken = Spec.of(name="broken", fixed={**FIXED, "data": "hostile_data:broken"})
    others = crew()
    with Bench(out=str(tmp_path), workers=1, progress=interrupt) as bench:
        with pytest.raises(UserCodeError, match="'hostile_data:broken' raised OSError: the share is not mounted"):
            bench.run(broken)
        assert crew() == others  # what is at work for a spec that failed is not kept
        with pytest.raises(KeyboardInterrupt):
            bench.run(spec)
        assert crew() == others
    done = []
    Bench(out=str(tmp_path), progress=lambda *count: done.append(count)).run(spec)
    assert 0 < done[0][0] < done[0][1] == done[-1][0]  # what had ended was kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": -1}, "`workers` is a number of processes, a whole one, and must be >= 0, got -1"),
        ({"workers": 1.5}, "`workers` is a number of processes, .*, got 1.5"),
        ({"workers": "2"}, "`workers` is a number of processes, .*, got '2'"),
        ({"workers": 1, "ray": "auto"}, "exclude each other"),
        ({"device": "meta"}, r"`device` must be one that torch has here \(.*meta.*\), got 'meta'"),
    ],
)
def test_runners_that_there_are_not(arguments, words):
    with pytest.raises(ValueError, match=words):
        runner(**arguments)


def test_tasks_are_of_seconds_and_shrink_towards_the_end():
    populations = [[Point(data="gaussian", depth=1, width=4, activation="relu", seed=seed)] for seed in range(100)]
    tasks = Tasks(populations, slots=2)
    first = tasks.take()
    assert len(first) == 1  # nothing is known of the speed
    tasks.ended(first, seconds=TASK_SECONDS / 10)
    sizes = []
    while task := tasks.take():
        sizes.append(len(task))
    assert sizes[0] == 10
    assert sizes[-1] == 1
    assert sum(sizes) == 99
    assert sizes == sorted(sizes, reverse=True)
