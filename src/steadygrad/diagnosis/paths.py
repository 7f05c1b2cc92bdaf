"""Paths of modules and names of parameters in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 3


def listed(paths: Sequence[str]) -> str:
    """Return up to three paths, quoted, and how many more there are.

    >>> listed(["0", "2"]), listed(["a", "b", "c", "d", "e"])
    ("'0' and '2'", "'a', 'b', 'c' and 2 more")
    """
    quoted = [repr(path) for path in paths[:_MOST]]
    if len(paths) > _MOST:
        return f"{', '.join(quoted)} and {len(paths) - _MOST} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
