"""A part is there whole or not at all: whatever the place, and whatever ends the writer."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steadygrad.store import MANIFEST, Place, Store, StoreError

SCHEMA = pa.schema([("id", pa.string()), ("loss", pa.float64()), ("curve", pa.list_(pa.float64()))])
RECORDS = [{"id": "a", "loss": 0.5, "curve": [1.0, 2.0]}, {"id": "b", "loss": None, "curve": []}]


@pytest.fixture(params=["path", "file", "memory"])
def place(request, tmp_path):
    root = str(tmp_path / "store")
    return {"path": root, "file": f"file://{root}", "memory": f"memory://{root}"}[request.param]


def test_what_is_written_is_read(place):
    store = Store(place, SCHEMA)
    assert store.manifest() is None
    assert store.read().num_rows == 0
    store.claim({"for": "test"})
    store.append(RECORDS)
    store.append([])
    store.append([{"id": "c", "loss": float("inf"), "curve": [float("nan")]}])
    again = Store(place, SCHEMA)
    assert again.manifest() == {"for": "test"}
    rows = sorted(again.read().to_pylist(), key=lambda row: row["id"])
    assert rows[:2] == RECORDS
    assert rows[2]["loss"] == float("inf")
    assert again.read(["id"]).column_names == ["id"]
    assert len(again.parts()) == 2


def test_a_folder_is_read_as_parquet_by_others(tmp_path):
    store = Store(tmp_path / "s", SCHEMA)
    store.claim({"for": "test"})
    store.append(RECORDS)
    store.append([{"id": "c", "loss": 1.0, "curve": []}])
    assert sorted(pq.read_table(tmp_path / "s")["id"].to_pylist()) == ["a", "b", "c"]


def test_columns_that_came_later_are_null_in_earlier_parts(tmp_path):
    Store(tmp_path / "s", pa.schema([("id", pa.string())])).claim({})
    Store(tmp_path / "s", pa.schema([("id", pa.string())])).append([{"id": "a"}])
    assert Store(tmp_path / "s", SCHEMA).read().to_pylist() == [{"id": "a", "loss": None, "curve": None}]


def test_a_folder_with_other_files_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="holds other files"):
        Store(tmp_path, SCHEMA).claim({})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_writer_left_is_no_other_file(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "gone")

    store = Store(tmp_path / "s", SCHEMA)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        patch.setattr(store._files, "rm", fails)  # what is killed does not tidy up
        with pytest.raises(StoreError, match="cannot be written: gone"):
            store.claim({"for": "test"})
    assert len(list((tmp_path / "s").iterdir())) == 1
    store.claim({"for": "test"})
    assert store.manifest() == {"for": "test"}


def test_a_manifest_of_something_else_is_said(tmp_path):
    (tmp_path / MANIFEST).write_text("[1, 2]")
    with pytest.raises(StoreError, match=r"_manifest.json is no store's: it holds a list"):
        Store(tmp_path, SCHEMA).manifest()


def test_a_place_is_written_to_or_said_at_once(place, tmp_path):
    made = Place(place)
    made.make()
    made.make()  # what is there is no error
    assert made.write("a.txt", b"one") == made.write("a.txt", b"two") == f"{place}/a.txt"
    with fsspec.open(f"{place}/a.txt", "rb") as file:
        assert file.read() == b"two"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="file cannot be written: File exists"):
        Place(tmp_path / "file").make()


@pytest.mark.parametrize(
    ("place", "words"), [("nosuch://x", "is no place"), ("/proc/nothing/here", "cannot be written")]
)
def test_a_place_that_cannot_be_used(place, words):
    with pytest.raises(StoreError, match=words):
        Store(place, SCHEMA).claim({})


def test_a_file_that_is_no_part_is_named(tmp_path):
    store = Store(tmp_path / "s", SCHEMA)
    store.claim({})
    (tmp_path / "s" / "part-0.parquet").write_bytes(b"not parquet")
    with pytest.raises(StoreError, match=r"part-0.parquet is no part"):
        store.read()


def test_where_there_is_no_space_nothing_is_lost(tmp_path):
    store = Store(tmp_path / "s", SCHEMA)
    store.claim({})
    store.append(RECORDS)
    # The system's own refusal, mid-write: files of this process may not grow beyond 4096 bytes.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1][1]))
    try:
        noise = [{"id": os.urandom(32).hex(), "loss": 0.0, "curve": []} for _ in range(1000)]
        with pytest.raises(StoreError, match="there is no space left; what was written before stays"):
            store.append(noise)
        with pytest.raises(StoreError, match="there is no space left"):
            store.write("page.html", os.urandom(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])
    assert store.read().num_rows == 2
    assert sorted(path.suffix for path in (tmp_path / "s").iterdir()) == [".json", ".parquet"]  # nothing half-written
    store.append(noise)
    assert store.read().num_rows == 1002


WRITER = """
import pyarrow as pa, sys
from steadygrad.store import Store
store = Store(sys.argv[1], pa.schema([("id", pa.string())]))
store.claim({})
n = 0
while True:
    store.append([{"id": f"{n}-{i}"} for i in range(5000)])
    n += 1
"""


def test_a_writer_that_is_killed_leaves_whole_parts(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "s")])
    store = Store(tmp_path / "s", pa.schema([("id", pa.string())]))
    until = time.monotonic() + 60
    while len(store.parts()) < 20 and time.monotonic() < until:
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    parts = store.parts()
    assert len(parts) >= 20
    assert store.read().num_rows == 5000 * len(parts)
