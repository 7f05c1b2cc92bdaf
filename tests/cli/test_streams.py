"""Whatever standard output is, what is said gets there or one line tells why not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPLAIN = [sys.executable, "-m", "steadygrad", "explain", "--depth", "20", "--width", "64"]
EXPLAIN += ["--activation", "relu", "--init", "he-normal"]


def run(**options):
    env = {**os.environ, **options.pop("env", {})}
    return subprocess.run(EXPLAIN, env=env, stderr=subprocess.PIPE, check=False, timeout=60, **options)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_an_encoding_without_dashes_and_rules_shows_others(encoding):
    done = run(stdout=subprocess.PIPE, env={"PYTHONIOENCODING": encoding})
    said = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "?" not in said
    assert any(row.split()[:1] == ["20"] for row in said.splitlines())


def test_a_closed_output_is_no_error():
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *EXPLAIN], stderr=subprocess.PIPE, check=False, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_told_in_one_line():
    with Path("/dev/full").open("w") as full:
        done = run(stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"steadygrad: could not write or read standard output: No space left on device.\n"
