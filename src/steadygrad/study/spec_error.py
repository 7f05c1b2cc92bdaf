"""What is wrong with a spec, in one line that names the key."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from steadygrad.errors import SetupError, unknown_name

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


def said_of(error: ValidationError) -> SpecError:
    """Return the first thing that pydantic found, in the grammar of this package."""
    first: Any = error.errors()[0]
    # pydantic adds the kinds of a union to the path; keys and indices are what a file has
    where: Where = tuple(part for part in first["loc"] if isinstance(part, int) or part in (*_TOP, *FIELDS))
    if first["type"] == "extra_forbidden":
        where = tuple(first["loc"])
    return SpecError(_words(first, _path(where)), where=where)


def _path(where: Where) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "point"


def _words(first: Any, path: str) -> str:
    match first["type"]:
        case "extra_forbidden":
            *tables, key = first["loc"]
            return unknown_name(path, str(key), FIELDS if tables else _TOP)
        case "literal_error":
            return unknown_name(path, str(first["input"]), re.findall(r"'([^']+)'", first["ctx"]["expected"]))
        case "value_error":
            words = str(first["ctx"]["error"])
            return words if words.startswith("`") else f"`{path}`: {words}"
        case "missing":
            return f"`{path}` must be given."
        case _:
            rule = first["msg"].replace("Input should be", "must be")
            return f"`{path}` {rule}, got {first['input']!r}."
