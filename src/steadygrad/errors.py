"""The exceptions of steadygrad, and the one grammar of their messages.

    Exception
    ├── ValueError, TypeError         an argument that is not allowed
    └── SteadygradError               everything else that this package raises itself
        ├── SetupError                a file, a name or a setup that cannot be used; also a ValueError
        │   ├── UserCodeError         the user's own code raised: says where, and keeps the original as `__cause__`
        │   └── study.SpecError       a grid that cannot be used: says the key and, of a file, the line
        ├── study.TooLargeError       a grid or a network that needs more memory than there is; also a ValueError
        ├── study.WorkerLostError     worker processes or nodes that are lost again and again with the same networks
        ├── store.StoreError          records or pages that cannot be read or written; also an OSError
        └── TrainingStopped           a guarded run that cannot go on

A message names the argument, says what is allowed and what came: ``"`q` is a variance and must be >= 0, got -1."``
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SteadygradError(Exception):
    """Base of what this package raises beyond `ValueError` and `TypeError`."""


class SetupError(SteadygradError, ValueError):
    """A file, a name or a training setup that cannot be used as it is."""


class UserCodeError(SetupError):
    """The user's own code raised; the message says where, the original is the cause."""


class TrainingStopped(SteadygradError, RuntimeError):
    """A guarded run that cannot go on: every remedy was tried."""


def not_allowed(subject: str, rule: str, got: object) -> str:
    """Return the message for an argument that is not allowed.

    >>> not_allowed("q", "is a variance and must be >= 0", -1)
    '`q` is a variance and must be >= 0, got -1.'
    """
    return f"`{subject}` {rule}, got {got!r}."


def unknown_name(subject: str, name: object, known: Iterable[str]) -> str:
    """Return the message for a name that is not known, with the nearest one that is.

    >>> unknown_name("activation", "rellu", ["relu", "tanh"])
    "`activation` must be one of 'relu', 'tanh', got 'rellu'. Did you mean 'relu'?"
    """
    names = list(known)
    listing = ", ".join(repr(n) for n in names)
    return f"`{subject}` must be one of {listing}, got {name!r}.{did_you_mean(name, names)}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message on a name that is not known: the nearest that is, "" where none is near.

    >>> did_you_mean("rellu", ["relu", "tanh"]), did_you_mean("x", ["relu"])
    (" Did you mean 'relu'?", '')
    """
    names = list(known)
    if not isinstance(name, str):
        return ""
    # Case is no difference that a user sees; a prefix in the wrong one is nearest to the first that begins so.
    low = name.lower()
    near = [n for n in names if low and n.lower().startswith(low)] or difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


# As much as a note bears; some messages of torch list every backend that there is.
_SHORT = 200


def in_short(error: BaseException) -> str:
    """Return the first line of an error's message, of a long one the first sentence; its type where it has none.

    >>> in_short(RuntimeError("No kernel for 'SparseCPU'. It is there for: " + "CPU, " * 99)), in_short(KeyError())
    ("No kernel for 'SparseCPU'", 'KeyError')
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    first = line if len(line) <= _SHORT else line.split(". ")[0]
    return first if len(first) <= _SHORT else f"{first[:_SHORT]}..."
