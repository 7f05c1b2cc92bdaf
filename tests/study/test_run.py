"""A study goes on where it stopped, computes nothing twice, and loses nothing: to Ctrl-C, kill -9 or a lost worker."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from steadygrad.store import StoreError
from steadygrad.study import Spec, TooLargeError, run
from steadygrad.study import folder as study_folder
from steadygrad.study.population import lockstep
from steadygrad.study.runners import in_process

FIXED = {"data": "gaussian", "examples": 128, "depth": 2, "width": 8, "activation": "tanh", "steps": 10}
SPEC = Spec.of(name="small", fixed=FIXED, product={"sigma_w": [1.0, 2.0], "optimizer": ["sgd", "adam"]}, seeds=3)


@pytest.fixture
def trained(monkeypatch):
    """The points that are trained in this process, in the order in which they are."""
    seen = []

    def train(points, **arguments):
        seen.extend(points)
        return lockstep.train(points, **arguments)

    monkeypatch.setattr(in_process, "train", train)
    return seen


def kept(folder):
    return [row for part in Path(folder).glob("part-*.parquet") for row in pq.read_table(part)["id"].to_pylist()]


def same(one, other):
    """Whether all columns agree: but for the time, and for `clipped`, which is NaN here, unequal to itself."""
    tables = [results.table.drop_columns(["seconds", "clipped"]) for results in (one, other)]
    return tables[0].equals(tables[1])


def test_results_are_in_the_order_of_the_points():
    results = run(SPEC)
    assert results.column("id").tolist() == [point.identity for point in SPEC.points()]
    assert len(results.where(optimizer="adam", seed=1)) == 2
    for (sigma, name), mean, error in results.mean("test_loss", by=["sigma_w", "optimizer"]):
        losses = results.where(sigma_w=sigma, optimizer=name).column("test_loss")
        assert (mean, error) == (losses.mean(), pytest.approx(losses.std(ddof=1) / 3**0.5))


def test_columns_are_numbers_to_compute_with(tmp_path):
    fixed = {"data": "gaussian", "activation": "tanh", "steps": 0}
    results = run(Spec.of(name="c", fixed=fixed, zip=[{"depth": [1, 2], "width": [4, 8]}], seeds=2))
    layers = results.where(depth=2).column("start_q")
    assert layers.shape == (2, 3)
    assert np.isfinite(np.log(layers)).all()
    ragged = results.column("start_q")
    assert [len(row) for row in ragged] == [2, 2, 3, 3]
    assert np.array_equal(np.stack(ragged[2:]), layers)
    (((), mean, _),) = results.mean("test_loss", by=[])
    assert mean == results.column("test_loss").mean()
    with pytest.raises(ValueError, match="`width` must be one value of type int64, got '4'"):
        results.where(width="4")
    with pytest.raises(ValueError, match=r"`width` must be one value of type int64, got \[4, 8\]"):
        results.where(width=[4, 8])


def test_nothing_is_computed_twice(tmp_path, trained):
    first = run(SPEC, out=tmp_path / "s")
    assert len(trained) == len(SPEC) == 12
    again = run(SPEC, out=tmp_path / "s")
    assert len(trained) == 12
    assert same(again, first)
    more = Spec.of(name="small", fixed=FIXED, product={"sigma_w": [1.0, 2.0], "optimizer": ["sgd", "adam"]}, seeds=4)
    with pytest.raises(StoreError, match="the results of another spec, 'small', which differs in `seeds`"):
        run(more, out=tmp_path / "s")
    assert len(run(more, out=tmp_path / "s", extend=True)) == 16
    assert {point.seed for point in trained[12:]} == {3}


def test_a_folder_without_records_takes_another_spec(tmp_path):
    wide = Spec.of(name="small", fixed={**FIXED, "width": 200_000})
    with pytest.raises(TooLargeError, match=r"one network of depth 2 and width 200000 needs \d+\.\d GiB"):
        run(wide, out=tmp_path / "s")
    assert len(run(SPEC, out=tmp_path / "s")) == 12


def test_results_without_a_folder_are_those_with_one(tmp_path):
    assert same(run(SPEC, out=tmp_path / "s"), run(SPEC))


def test_results_on_data_that_changed_are_not_mixed(tmp_path):
    def save(seed):
        draw = np.random.default_rng(seed)
        np.savez(tmp_path / "d.npz", inputs=draw.normal(size=(50, 3)), targets=draw.integers(0, 2, 50))
        lockstep.load.cache_clear()

    save(0)
    spec = Spec.of(name="file", fixed={**FIXED, "data": str(tmp_path / "d.npz"), "sigma_w": 1.0})
    assert np.isfinite(run(spec, out=tmp_path / "s").column("test_accuracy")).all()
    save(1)
    with pytest.raises(StoreError, match=r"holds results on other data: .*d.npz' has changed"):
        run(spec, out=tmp_path / "s")


def test_an_error_in_the_middle_keeps_what_had_ended(tmp_path, monkeypatch):
    calls = []

    def fails_at_the_second(points, **arguments):
        calls.append(points)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return lockstep.train(points, **arguments)

    monkeypatch.setattr(in_process, "train", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(SPEC, out=tmp_path / "s")
    assert sorted(kept(tmp_path / "s")) == sorted(point.identity for point in calls[0])
    assert len(run(SPEC, out=tmp_path / "s")) == 12
    assert len(kept(tmp_path / "s")) == len(set(kept(tmp_path / "s"))) == 12


@pytest.mark.parametrize("written", [False, True])
def test_an_interruption_while_a_part_is_written_keeps_it_once(tmp_path, monkeypatch, written):
    put_in_place, interrupted = os.replace, []

    def interrupts_once(temporary, final):
        if "part-" in str(final) and not interrupted:
            interrupted.append(final)
            if written:
                put_in_place(temporary, final)
            raise KeyboardInterrupt
        put_in_place(temporary, final)

    monkeypatch.setattr(os, "replace", interrupts_once)
    monkeypatch.setattr(study_folder, "_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(SPEC, out=tmp_path / "s")
    assert interrupted
    assert len(kept(tmp_path / "s")) == len(set(kept(tmp_path / "s"))) > 0
    run(SPEC, out=tmp_path / "s")
    assert len(kept(tmp_path / "s")) == len(set(kept(tmp_path / "s"))) == 12
    assert not list((tmp_path / "s").glob(".writing*"))


# A grid of some seconds. Every record is a part at once, so that there is something to lose.
SCRIPT = """
import sys
from steadygrad.study import Spec, folder, run
folder._SECONDS = 0.0
SPEC = Spec.of(name="long", fixed={"data": "gaussian", "depth": 4, "width": 32, "activation": "relu", "steps": 150},
               product={"gain": {"start": 0.5, "stop": 1.5, "count": 10}}, seeds=12)
if __name__ == "__main__":
    print(len(run(SPEC, out=sys.argv[1], workers=int(sys.argv[2]))))
"""


def started(script, folder, workers):
    return subprocess.Popen([sys.executable, str(script), str(folder), str(workers)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip


def wait_for_parts(folder, count, process, seconds=90):
    until = time.monotonic() + seconds
    while len(list(folder.glob("part-*"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_killed_with_its_workers_it_goes_on_where_it_was(tmp_path):
    script, folder = tmp_path / "long.py", tmp_path / "s"
    script.write_text(SCRIPT)
    first = started(script, folder, 1)
    wait_for_parts(folder, 2, first)
    worker = max(children(first.pid))  # not the resource tracker, which is started before it
    os.kill(worker, signal.SIGKILL)  # a worker alone: it is replaced
    wait_for_parts(folder, len(list(folder.glob("part-*"))) + 2, first)
    orphans = children(first.pid)
    first.kill()
    first.communicate()
    before = kept(folder)
    assert 0 < len(before) < 120
    assert len(set(before)) == len(before)
    until = time.monotonic() + 60
    while any(alive(pid) for pid in orphans):  # its workers end by themselves
        assert time.monotonic() < until
        time.sleep(0.05)
    second = started(script, folder, 1)
    wait_for_parts(folder, len(list(folder.glob("part-*"))) + 1, second)
    os.killpg(second.pid, signal.SIGINT)  # as Ctrl-C does: the whole group gets it
    _, said = second.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    middle = kept(folder)
    assert set(before) < set(middle)
    third = started(script, folder, 0)
    printed, said = third.communicate(timeout=90)
    assert printed.strip() == "120", said
    assert len(kept(folder)) == len(set(kept(folder))) == 120
