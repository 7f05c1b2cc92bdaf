"""The columns of a study's records, from the fields of a point and of its outcome."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import fields

import pyarrow as pa

from .outcome import Outcome, Signals
from .point import Point

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def record_schema() -> pa.Schema:
    """Return the columns: `id`, those of `Point`, those of `Outcome`.

    >>> record_schema().field("end_dead_fraction").type
    ListType(list<item: double>)
    """
    return pa.schema([("id", pa.string()), *_columns(Point), *_columns(Outcome)])


def _columns(cls: type) -> Iterator[tuple[str, pa.DataType]]:
    hints = typing.get_type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        if hint is Signals:
            yield from ((f"{field.name}_{f.name}", pa.list_(pa.float64())) for f in fields(Signals))
        elif hint is not Point:
            yield field.name, _type(hint)


def _type(hint: typing.Any) -> pa.DataType:
    arguments = [a for a in typing.get_args(hint) if a is not types.NoneType and a is not ...]
    if typing.get_origin(hint) is tuple:
        return pa.list_(_TYPES[arguments[0]])
    if typing.get_origin(hint) is typing.Literal:
        return pa.string()
    return _TYPES[hint] if hint in _TYPES else _type(arguments[0])
