"""Paths of modules, and lines of code, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from steadygrad.tracing import SourceLine

_MOST = 3

# As much of a line of code as a sentence bears.
_LONGEST = 60


def at_line(line: SourceLine | None) -> str:
    """Return " at model.py:12 (the text)", the text only where it is short; "" where the line is not known.

    >>> at_line(None)
    ''
    """
    if line is None:
        return ""
    return f" at {line} ({line.text})" if 0 < len(line.text) <= _LONGEST else f" at {line}"


def listed(paths: Sequence[str]) -> str:
    """Return up to three paths, quoted, and how many more there are.

    >>> listed(["0", "2"]), listed(["a", "b", "c", "d", "e"])
    ("'0' and '2'", "'a', 'b', 'c' and 2 more")
    """
    quoted = [repr(path) for path in paths[:_MOST]]
    if len(paths) > _MOST:
        return f"{', '.join(quoted)} and {len(paths) - _MOST} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
