"""What the user's code warns of, once: a check runs the same code many times, from many places of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def warned_once() -> Iterator[None]:
    """Let each warning be shown once, wherever it comes from.

    Python's own "once" forgets what it showed whenever a filter is set, which torch does often.

    >>> with warnings.catch_warnings(record=True) as seen, warned_once():
    ...     warnings.simplefilter("always")
    ...     for _ in range(3):
    ...         warnings.warn("odd targets", stacklevel=1)
    >>> len(seen)
    1
    """
    shown: set[tuple[type[Warning], str]] = set()
    show = warnings.showwarning

    def once(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if (key := (category, str(message))) not in shown:
            shown.add(key)
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = once
        yield
