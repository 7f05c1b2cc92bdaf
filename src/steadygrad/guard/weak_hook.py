"""A hook on a module that holds nothing alive and does not travel with copies of the module."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class WeakHook:
    """Calls a method while its object lives; a deep copy or a pickle of it does nothing.

    A module keeps its hooks when it is copied, for a moving average or a checkpoint; a bound method would take the
    optimizer and all snapshots along, and act for the copy.

    >>> import copy
    >>> class Counter:
    ...     calls = 0
    ...     def count(self, *_):
    ...         self.calls += 1
    >>> counter = Counter(); hook = WeakHook(counter.count)
    >>> hook(), copy.deepcopy(hook)(), counter.calls
    (None, None, 1)
    """

    def __init__(self, method: Callable[..., None] | None) -> None:
        self._method = None if method is None else weakref.WeakMethod(method)

    def __call__(self, *args: Any) -> None:
        """Call the method, if it is still there."""
        method = None if self._method is None else self._method()
        if method is not None:
            method(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> WeakHook:
        return WeakHook(None)

    def __reduce__(self) -> tuple[type[WeakHook], tuple[None]]:
        return WeakHook, (None,)
