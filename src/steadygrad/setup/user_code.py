"""The user's own exceptions: said in one line, with the user's file and line."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steadygrad.errors import SteadygradError, UserCodeError

_NOT_THE_USERS = tuple(
    str(Path(folder).resolve())
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), Path(__file__).parents[1])
)

_OF_WORKER = "Original Traceback (most recent call last)"  # torch quotes what a worker raised as text


def is_the_users(file: str) -> bool:
    """Whether a file lies outside of the standard library, the installed packages and this one.

    >>> is_the_users(__file__), is_the_users("train.py")
    (False, True)
    """
    return not file.startswith("<") and not str(Path(file).resolve()).startswith(_NOT_THE_USERS)


def place(error: BaseException) -> str | None:
    """Return ``"file.py:12"``, the innermost line of the user's own that raised `error`; None where there is none.

    What counts as the user's own is every file outside of the standard library, the installed packages and this one.

    >>> place(ValueError("never raised")) is None
    True
    """
    if isinstance(error, SyntaxError) and error.filename and is_the_users(error.filename):
        return f"{error.filename}:{error.lineno}"
    if _OF_WORKER in str(error):
        lines = re.findall(r'File "(.+)", line (\d+)', str(error).partition(_OF_WORKER)[2])
        return next((f"{file}:{number}" for file, number in reversed(lines) if is_the_users(file)), None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_the_users(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _in_one_line(error: BaseException) -> str:
    if _OF_WORKER in str(error):
        return f"{str(error).strip().splitlines()[-1]}, in a worker of the DataLoader"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    words = " ".join(text.split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _shown(location: str) -> str:
    """The location relative to the working directory, where it lies below it."""
    here = str(Path.cwd()) + "/"
    return location.removeprefix(here)


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turn what the user's code raises inside of the block into a `UserCodeError` that says where.

    Args:
        what: what runs, as the message names it: ``"`setup`"``.

    Raises:
        UserCodeError: the block raised; the original is the cause. This package's own errors pass as they are.

    >>> with user_code("`loss_fn`"):
    ...     {}["missing"]
    Traceback (most recent call last):
    steadygrad.errors.UserCodeError: `loss_fn` raised KeyError: 'missing'
    """
    try:
        yield
    except SteadygradError:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{what} raised {raised(error)}") from error


def raised(error: BaseException) -> str:
    """Return what the user's code raised, in one line, with the user's file and line where there is one.

    >>> raised(ValueError("no such file"))
    'ValueError: no such file'
    """
    location = place(error)
    return _in_one_line(error) + (f" ({_shown(location)})" if location else "")
