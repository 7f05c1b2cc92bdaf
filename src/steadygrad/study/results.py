"""The records of a study as a table, in the order of its points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from steadygrad.errors import not_allowed, unknown_name


@dataclass(frozen=True)
class Results:
    """Records, a row a point; the columns are those of `Point` and of `Outcome`.

    Attributes:
        table: an Arrow table: `.to_pandas()`, `polars.from_arrow`, DuckDB and others read it as it is.
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def rows(self) -> list[dict[str, Any]]:
        """Return the records as dictionaries."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def column(self, name: str) -> NDArray[Any]:
        """Return one column; numbers that are not there are NaN.

        Of lists it is [records, entries] where they are of one length, as of networks of one depth; else an array of
        arrays.

        Raises:
            ValueError: there is no such column.

        >>> results = Results(pa.table({"depth": [1, 1, 2], "start_q": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0]]}))
        >>> results.where(depth=1).column("start_q").mean(axis=0), results.column("start_q").shape
        (array([2., 3.]), (3,))
        """
        found = self.table[self._known(name)]
        if pa.types.is_list(found.type):
            return _of_lists(found)
        return np.asarray(found.to_numpy(zero_copy_only=False))

    def where(self, **values: Any) -> Results:
        """Return the records whose columns have these values; None means that there is none.

        Raises:
            ValueError: there is no such column, or it holds no such values.

        >>> results = Results(pa.table({"depth": [1, 2, 2], "test_loss": [0.3, 0.2, 0.1]}))
        >>> results.where(depth=2).column("test_loss")
        array([0.2, 0.1])
        """
        table = self.table
        for name, value in values.items():
            column = table[self._known(name)]
            try:
                table = table.filter(column.is_null() if value is None else pc.equal(column, pa.scalar(value)))
            except (pa.ArrowException, NotImplementedError) as error:
                raise ValueError(not_allowed(name, f"must be one value of type {column.type}", value)) from error
        return Results(table)

    def by(self, *names: str) -> Iterator[tuple[tuple[Any, ...], Results]]:
        """Yield each combination of values of these columns and its records, in the order of their appearance.

        Without columns that is one combination, (), of all records.

        >>> results = Results(pa.table({"depth": [1, 2, 1], "seed": [0, 0, 1]}))
        >>> [(depth, len(group)) for (depth,), group in results.by("depth")]
        [(1, 2), (2, 1)]
        """
        columns = [self.table[self._known(name)].to_pylist() for name in names]
        indices: dict[tuple[Any, ...], list[int]] = {}
        for i, key in enumerate(zip(*columns, strict=True) if columns else [()] * len(self)):
            indices.setdefault(key, []).append(i)
        for key, index in indices.items():
            yield key, Results(self.table.take(pa.array(index)))

    def mean(self, name: str, by: Sequence[str]) -> list[tuple[tuple[Any, ...], float, float]]:
        """Return for each combination of `by` the mean of a column and its standard error (NaN of one record).

        >>> results = Results(pa.table({"depth": [1, 1, 2], "test_loss": [0.2, 0.4, 0.1]}))
        >>> [(key, round(mean, 3), round(error, 3)) for key, mean, error in results.mean("test_loss", by=["depth"])]
        [((1,), 0.3, 0.1), ((2,), 0.1, nan)]
        """
        out = []
        for key, group in self.by(*by):
            values = group.column(name).astype(float)
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            out.append((key, float(values.mean()), float(error)))
        return out

    def _known(self, name: str) -> str:
        if name not in self.table.column_names:
            raise ValueError(unknown_name("column", name, self.table.column_names))
        return name


def _of_lists(column: pa.ChunkedArray) -> NDArray[Any]:
    """Rows of one length as one array, of several as an array of arrays; where there is none it has no entries."""
    rows = [np.array(row or ()) for row in column.to_pylist()]
    if len({len(row) for row in rows}) == 1:
        return np.stack(rows)
    ragged = np.empty(len(rows), dtype=object)
    ragged[:] = rows
    return ragged


def in_order(table: pa.Table, identities: Sequence[str]) -> Results:
    """Return the records of these points, each once, in this order; points without a record are left out."""
    row_of: dict[str, int] = {}
    for row, identity in enumerate(table["id"].to_pylist()):
        row_of.setdefault(identity, row)
    index = [row_of[identity] for identity in identities if identity in row_of]
    return Results(table.take(pa.array(index, type=pa.int64())))
