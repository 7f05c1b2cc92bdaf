"""What is wrong with a spec, in one line that names the key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from steadygrad.errors import SetupError, not_allowed, unknown_name

from .point import FIELDS

Where = tuple[str | int, ...]
_TOP = ("name", "fixed", "product", "zip", "seeds")


class SpecError(SetupError):
    """A spec that cannot be used as it is.

    Attributes:
        where: the key, as a path through the tables; () where it is no one key.
    """

    def __init__(self, message: str, *, where: Where = ()) -> None:
        super().__init__(message)
        self.where = where


def said_of(error: ValidationError, *, tables: Sequence[str] = _TOP, fields: Sequence[str] = FIELDS) -> SpecError:
    """Return the first thing that pydantic found, in the grammar of this package.

    Args:
        error: what pydantic raised.
        tables: the names of the outermost level.
        fields: those of all levels within.
    """
    first = _first(error)
    if isinstance(said := first.get("ctx", {}).get("error"), SpecError):
        return said
    # pydantic adds the kinds of a union to the path; keys and indices are what a file has
    where: Where = tuple(part for part in first["loc"] if isinstance(part, int) or part in (*tables, *fields))
    if first["type"] == "extra_forbidden":
        where = tuple(first["loc"])
    return SpecError(_words(first, where, fields if where[1:] else tables), where=where)


def _first(error: ValidationError) -> Any:
    """The error to say: a key that is not known before one that it may have been meant for."""
    errors: list[Any] = list(error.errors())
    if errors[0]["type"] == "missing":
        return next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    if errors[0]["loc"][:1] == ("seeds",):  # of a number or a list: what was given lies deepest
        return max((e for e in errors if e["loc"][:1] == ("seeds",)), key=lambda e: len(e["loc"]))
    return errors[0]


def _path(where: Where) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "point"


def _words(first: Any, where: Where, known: Sequence[str]) -> str:
    path = _path(where)
    match first["type"]:
        case "extra_forbidden":
            return unknown_name(path, str(where[-1]), known)
        case "literal_error":
            return unknown_name(path, str(first["input"]), re.findall(r"'([^']+)'", first["ctx"]["expected"]))
        case "value_error":
            words = str(first["ctx"]["error"])
            return words if words.startswith("`") else f"`{path}`: {words}"
        case "missing":
            return f"`{path}` must be given."
        case "tuple_type" if path == "zip":
            return not_allowed(path, "must be tables of lists, each under its own [[zip]]", first["input"])
        case "model_type":
            return not_allowed(path, "must be a table of keys and values", first["input"])
        case _:
            rule = re.sub("^(Input|String) should", "must", first["msg"]).split(", ")[0]
            return not_allowed(path, rule, first["input"])
