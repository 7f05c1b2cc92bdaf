"""Folders, local or behind an fsspec URL: each file written to a temporary name, synced and renamed into place.

A file is there whole or not at all, whatever ends the writer; what a killed writer leaves is a temporary file that
nobody reads. A store is such a folder with records, as append-only Parquet parts.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from steadygrad.errors import SteadygradError

# Begins with a line, as what readers of a folder of Parquet files leave out does.
MANIFEST = "_manifest.json"
_TEMPORARY = ".writing"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(SteadygradError, OSError):
    """A store that cannot be opened, read or written; what it holds stays as it is."""


class Place:
    """A folder, local or behind an fsspec URL.

    Args:
        location: a path, or an fsspec URL such as "s3://bucket/study".

    Raises:
        StoreError: it names no place, or one whose file system is not installed.

    >>> import tempfile
    >>> place = Place(tempfile.mkdtemp())
    >>> written = place.write("page.html", b"<p>")
    >>> with open(written) as page:
    ...     page.read()
    '<p>'
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = os.fspath(location)
        try:
            self._files, root = fsspec.core.url_to_fs(self.location)
        except (ValueError, ImportError) as error:
            raise StoreError(f"{self.location!r} is no place to write to: {error}.") from error
        self._root = PurePosixPath(root)
        self._local = "file" in _protocols(self._files)

    def make(self) -> None:
        """Make the folder, and see that it can be written to: before a long computation, not after it.

        Raises:
            StoreError: it cannot.
        """
        with self._said("written"):
            self._files.makedirs(str(self._root), exist_ok=True)
            probe = str(self._root / f"{_TEMPORARY}-{uuid.uuid4().hex}")
            self._files.pipe_file(probe, b"\n")
            self._files.rm_file(probe)

    def write(self, name: str, content: bytes) -> str:
        """Write a file, whole or not at all, and return where it is.

        Raises:
            StoreError: there is no space, or the folder cannot be written to.
        """
        with self._said("written"):
            self._write(name, content)
        return f"{self.location.rstrip('/')}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        """To a name that no reader looks at, then by renaming: a reader sees all of it or nothing."""
        temporary = str(self._root / f"{_TEMPORARY}-{uuid.uuid4().hex}")
        try:
            with self._files.open(temporary, "wb") as file:
                file.write(content)
                if self._local:
                    file.flush()
                    os.fsync(file.fileno())
            self._rename(temporary, str(self._root / name))
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.rm(temporary)
            raise

    def _rename(self, temporary: str, final: str) -> None:
        if not self._local:
            self._files.mv(temporary, final)
            return
        os.replace(temporary, final)
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a crash of the machine may forget the new name
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _said(self, done: str) -> Iterator[None]:
        """Turn what the file system raises into one line."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                words = "there is no space left; what was written before stays. Free some and start again: it goes on."
            else:
                words = f"{error.strerror or error}."
            raise StoreError(f"{self.location} cannot be {done}: {words}") from error


class Store(Place):
    """Records of one purpose in one folder.

    Args:
        location: a path, or an fsspec URL such as "s3://bucket/study".
        schema: the columns of every record.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> store = Store(folder, pa.schema([("id", pa.string()), ("loss", pa.float64())]))
    >>> store.claim({"study": "example"})
    >>> store.append([{"id": "a", "loss": 0.5}])
    >>> store.read().to_pylist()
    [{'id': 'a', 'loss': 0.5}]
    """

    def __init__(self, location: str | os.PathLike[str], schema: pa.Schema) -> None:
        super().__init__(location)
        self.schema = schema

    def manifest(self) -> dict[str, Any] | None:
        """Return what the store was claimed for; None where it was not."""
        path = str(self._root / MANIFEST)
        with self._said("read"):
            if not self._files.exists(path):
                return None
            with self._files.open(path, "rb") as file:
                raw = file.read()
        try:
            found = json.loads(raw)
        except ValueError as error:
            raise StoreError(f"{path} is not JSON: {error}.") from error
        if not isinstance(found, dict):
            raise StoreError(f"{path} is no store's: it holds a {type(found).__name__}, not an object.")
        return found

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Make the folder, where there is none, and write what it is for.

        Raises:
            StoreError: it cannot be written, or holds files that are no store's.
        """
        with self._said("written"):
            if self.manifest() is None and any(not name.startswith(_TEMPORARY) for name in self._names()):
                raise StoreError(f"{self.location} holds other files and no {MANIFEST}: choose an empty folder.")
            self._files.makedirs(str(self._root), exist_ok=True)
            self._write(MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode())

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records as one part, which is named by what it holds: the same records are kept once.

        So one who was interrupted, and cannot know whether the part was there already, writes it again.

        Raises:
            StoreError: there is no space, or the folder cannot be written; nothing is half-written.
        """
        if not records:
            return
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(records), schema=self.schema), buffer, compression="zstd")
        content = buffer.getvalue().to_pybytes()
        self.write(f"part-{hashlib.blake2b(content, digest_size=16).hexdigest()}.parquet", content)

    def parts(self) -> list[str]:
        """Return the paths of the parts, sorted."""
        with self._said("read"):
            return [str(self._root / name) for name in sorted(self._names()) if name.startswith("part-")]

    def _names(self) -> list[str]:
        """Return the names of all files in the folder; none where there is no folder."""
        if not self._files.exists(str(self._root)):
            return []
        return [PurePosixPath(path).name for path in self._files.ls(str(self._root), detail=False)]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all records, in no order.

        Args:
            columns: to read; all by default.
        """
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        tables = [self._part(path, schema) for path in self.parts()]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _part(self, path: str, schema: pa.Schema) -> pa.Table:
        try:
            with self._said("read"), self._files.open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                there = set(parquet.schema_arrow.names)
                known = [name for name in schema.names if name in there]
                return _with_all_columns(parquet.read(columns=known), schema)
        except pa.ArrowInvalid as error:
            raise StoreError(f"{path} is no part that this version can read: {error}.") from error


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _with_all_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Parts of an earlier version lack columns that came later: they are null there."""
    if table.schema == schema:
        return table
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
