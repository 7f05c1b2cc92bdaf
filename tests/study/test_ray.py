"""A Ray cluster of two nodes on this machine, one killed in the middle: every network is there, and the right one."""

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from steadygrad.errors import SetupError
from steadygrad.study.runners import runner

CLUSTER = Path(__file__).with_name("ray_cluster.py")

no_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is an extra")


@no_ray
def test_a_cluster_that_is_not_there_is_said_at_once():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening: connections are refused
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        for address in (where, f"ray://{where}"):
            with pytest.raises(SetupError, match=f"there is no Ray cluster at '{address}': .*refused"):
                runner(ray=address)
    with pytest.raises(SetupError, match="there is no Ray cluster at 'nowhere': Invalid address format"):
        runner(ray="nowhere")


@no_ray
def test_nothing_is_lost_with_a_node(tmp_path):
    command = [sys.executable, str(CLUSTER), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["alive"] == 1
    assert said["killed_at"] < len(said["loss"]) == 48  # a node was lost while networks were left
    kept = [row for part in (tmp_path / "out").glob("part-*.parquet") for row in pq.read_table(part)["id"].to_pylist()]
    assert sorted(kept) == sorted(said["loss"])  # each once
    spec = importlib.util.spec_from_file_location("ray_cluster", CLUSTER)
    cluster = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cluster)
    points = list(cluster.SPEC.points())[::12]
    from steadygrad.study import train

    for outcome in train(points):
        # A batch of another size sums in another order, and float32 carries that through 250 steps.
        assert said["loss"][outcome.point.identity] == pytest.approx(outcome.test_loss, rel=1e-3)
