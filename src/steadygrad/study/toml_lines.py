"""A TOML file as nested tables, and the line that a key stands in, which the parser does not keep."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

from .spec_error import SpecError, Where

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


def parse(text: str, source: str) -> tuple[dict[str, Any], Callable[[Where], int]]:
    r"""Return the tables, and the function from a path through them to its line.

    Raises:
        SpecError: the text is not TOML; the message says where.

    >>> tables, line_of = parse("name = 'a'\n[fixed]\nwidth = 3\n", "spec.toml")
    >>> tables["fixed"], line_of(("fixed", "width")), line_of(("fixed", "depth"))
    ({'width': 3}, 3, 2)
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{source}: not TOML: {error}.") from error
    lines = _lines(text)

    def line_of(where: Where) -> int:
        """The line of the key, or of the nearest table around it."""
        while where and where not in lines:
            where = where[:-1]
        return lines.get(where, 1)

    return tables, line_of


def _lines(text: str) -> dict[Where, int]:
    found: dict[Where, int] = {}
    table: Where = ()
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _table(header[1], header[2], seen)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *(part.strip("\"'") for part in key[1].split(".")))
            for end in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:end], number)
    return found


def _table(bracket: str, name: str, seen: dict[str, int]) -> Where:
    if bracket == "[":
        return tuple(name.split("."))
    seen[name] = seen.get(name, -1) + 1
    return (*name.split("."), seen[name])
