"""A package's public names, each loaded where it is first used: the command line pays for what it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package whose names are imported when they are asked for.

    Importing a submodule binds it in its package, under its own name. Where a public function has that name, as `gain`
    in `gain.py`, the function stays what the name means.
    """

    _homes: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        home = self._homes[name]
        module = importlib.import_module(f"{self.__name__}.{home or name}")
        return getattr(module, name) if home else module

    def __setattr__(self, name: str, value: Any) -> None:
        submodule = isinstance(value, ModuleType) and self._homes.get(name)
        super().__setattr__(name, getattr(value, name) if submodule else value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._homes})


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> list[str]:
    """Let a package load its names on first use; return the names, for `__all__`.

    Args:
        package: its `__name__`, while it is being imported.
        homes: each submodule with the names that it gives; where it gives none it is itself the name.

    Raises:
        ValueError: two submodules give the same name.

    >>> import sys
    >>> made = sys.modules["lazy"] = ModuleType("lazy")
    >>> lazy_names("lazy", {"gain": ("Gain", "gain"), "theory": ()})
    ['Gain', 'gain', 'theory']
    >>> del sys.modules["lazy"]
    """
    pairs = [(name, home) for home, names in homes.items() for name in names]
    pairs += [(home, "") for home, names in homes.items() if not names]
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(f"`homes` must give each name once, got {sorted(name for name, _ in pairs)}.")
    module = sys.modules[package]
    module.__class__ = LazyPackage
    module.__dict__["_homes"] = dict(pairs)
    return sorted(name for name, _ in pairs)
