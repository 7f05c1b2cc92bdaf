"""What a project settles once for all its checks: `[tool.steadygrad]` in pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steadygrad.errors import SetupError, not_allowed, unknown_name
from steadygrad.finding import Level

from .rules import RULES
from .selection import beginning_with
from .suppression import Suppression

FILE, TABLE = "pyproject.toml", "[tool.steadygrad]"
_KEYS = ("select", "ignore", "per-module-ignores", "levels")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Which rules look, where, and how much what they find matters.

    Attributes:
        select: codes of rules, or beginnings of them; all where it is empty.
        ignore: the same, left out.
        per_module_ignores: codes by a shell pattern of module paths.
        levels: the level that findings of a code, or of codes that begin so, are given; the longest that fits wins.

    >>> Configuration.of({"ignore": ["FWD001"], "levels": {"FWD": "info"}}).ignore
    ('FWD001',)
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_module_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    levels: Mapping[str, Level] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Configuration:
        """Return a checked configuration from a table as TOML gives it.

        Raises:
            ValueError: a key, a code or a level that is not known, or a value of another type.
        """
        for key in table:
            if key not in _KEYS:
                raise ValueError(unknown_name(TABLE, key, _KEYS))
        modules, levels = _table("per-module-ignores", table), _table("levels", table)
        return cls(
            select=_codes("select", table.get("select", [])),
            ignore=_codes("ignore", table.get("ignore", [])),
            per_module_ignores={p: _codes(f"per-module-ignores.{p}", c) for p, c in modules.items()},
            levels={code: _level(code, name) for code, name in levels.items()},
        )

    @classmethod
    def nearest(cls, start: Path) -> Configuration:
        """Return what the nearest pyproject.toml with such a table says, from a folder upwards; else nothing.

        Raises:
            SetupError: the file is no TOML, or the table is not as it must be.
        """
        for folder in (start.resolve(), *start.resolve().parents):
            table = _read(folder / FILE)
            if table is not None:
                try:
                    return cls.of(table)
                except ValueError as error:
                    raise SetupError(f"{folder / FILE}: {error}") from error
        return cls()

    @property
    def suppressions(self) -> tuple[Suppression, ...]:
        """What is suppressed by module."""
        return tuple(
            Suppression(code=code, pattern=pattern, source=f"per-module-ignores {pattern!r}: {code!r}")
            for pattern, codes in self.per_module_ignores.items()
            for code in codes
        )

    def level_of(self, code: str, level: Level) -> Level:
        """Return the level of a finding, given the one that its rule gave it.

        >>> Configuration.of({"levels": {"FWD": "info", "FWD005": "error"}}).level_of("FWD005", Level.WARN)
        <Level.ERROR: 'error'>
        """
        fitting = [prefix for prefix in self.levels if code.startswith(prefix)]
        return self.levels[max(fitting, key=len)] if fitting else level


def _read(file: Path) -> Mapping[str, Any] | None:
    """The table in a file; None where there is no file, or it has no such table."""
    if not file.is_file():
        return None
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SetupError(f"{file} must be a TOML file that can be read: {error}.") from error
    table = content.get("tool", {}).get("steadygrad")
    if table is not None and not isinstance(table, Mapping):
        raise SetupError(f"{file}: {not_allowed(TABLE, 'must be a table', table)}")
    return table


def _table(key: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise ValueError(not_allowed(key, "must be a table", found))
    return found


def _codes(key: str, codes: Collection[str] | Any) -> tuple[str, ...]:
    if not isinstance(codes, list | tuple) or not all(isinstance(code, str) for code in codes):
        raise ValueError(not_allowed(key, "must be a list of codes", codes))
    beginning_with(RULES, key, codes)
    return tuple(codes)


def _level(code: str, name: Any) -> Level:
    beginning_with(RULES, "levels", [code])
    if name not in list(Level):
        raise ValueError(unknown_name(f"levels.{code}", str(name), [level.value for level in Level]))
    return Level(name)
