"""The folder of a study: which spec it belongs to, which points it has, and the records that come."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from steadygrad.store import Store, StoreError

from .data import load
from .outcome import Outcome
from .point import Point
from .record import record_schema
from .spec import Spec

FORMAT = 1
# A part is written this often: what kill -9 loses, and few enough parts to read 10^5 records in a second.
_SECONDS = 2.0


class Folder:
    """The records of one spec in one place.

    Args:
        location: a path, or an fsspec URL.
        spec: that they belong to.
        points: of the spec.
        extend: whether the records of another spec may stand there: those of points in common are used.

    Raises:
        StoreError: it belongs to another spec or to other data, or cannot be used.
    """

    def __init__(
        self, location: str | os.PathLike[str], spec: Spec, points: Sequence[Point], *, extend: bool = False
    ) -> None:
        self._store = Store(location, record_schema())
        self._waiting: list[dict[str, Any]] = []
        self._written = time.monotonic()
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "identity": spec.identity,
            "spec": spec.tables(),
            "data": {name: _digest(name) for name in sorted({point.data for point in points})},
        }
        found = self._store.manifest()
        if found != manifest:
            if found is not None:
                self._check_format(found)
                if self._store.parts():  # where nothing is kept there is nothing to mix
                    self._check(found, manifest, extend=extend)
                    manifest["data"] = {**found["data"], **manifest["data"]}
            self._store.claim(manifest)

    def done(self) -> set[str]:
        """Return the identities of the points that have a record."""
        return set(self._store.read(["id"])["id"].to_pylist())

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep these records, and write what waits where the last part is long enough ago."""
        self._waiting += [outcome.row() for outcome in outcomes]
        if time.monotonic() - self._written > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one part."""
        self._store.append(self._waiting)
        self._waiting.clear()
        self._written = time.monotonic()

    def table(self) -> pa.Table:
        """Return all records that are written."""
        return self._store.read()

    def _check_format(self, found: dict[str, Any]) -> None:
        if found.get("format") != FORMAT:
            place = self._store.location
            raise StoreError(f"{place} is of format {found.get('format')!r}, and this version writes {FORMAT}.")

    def _check(self, found: dict[str, Any], wanted: dict[str, Any], *, extend: bool) -> None:
        place = self._store.location
        for name in sorted(set(found["data"]) & set(wanted["data"])):
            if found["data"][name] != wanted["data"][name]:
                raise StoreError(f"{place} holds results on other data: {name!r} has changed. Choose another folder.")
        if found["identity"] != wanted["identity"] and not extend:
            differs = ", ".join(f"`{key}`" for key in _differing(found["spec"], wanted["spec"]))
            raise StoreError(
                f"{place} holds the results of another spec, {found['spec']['name']!r}, which differs in {differs}. "
                "Choose another folder, or --extend to keep both there: points in common are not computed again."
            )


def _differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    found = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += [f"{key}.{name}" for name in sorted(set(left) | set(right)) if left.get(name) != right.get(name)]
        elif left != right:
            found.append(key)
    return found


def _digest(name: str) -> str:
    data = load(name)
    digest = hashlib.blake2b(digest_size=12)
    for tensor in (data.inputs, data.targets, data.test_inputs, data.test_targets):
        digest.update(str(tuple(tensor.shape)).encode() + tensor.cpu().double().contiguous().numpy().tobytes())
    return digest.hexdigest()
