"""Writing a report so that a reader never sees half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from steadygrad.errors import SetupError


def save(path: str | os.PathLike[str], text: str) -> Path:
    """Write text to a temporary file beside `path`, then rename it into place.

    Raises:
        SetupError: the folder does not exist or cannot be written to.

    >>> save(Path(tempfile.mkdtemp()) / "report.txt", "clean").read_text()
    'clean'
    """
    target = Path(path)
    check_writable(target)
    try:
        _replace(target, text)
    except OSError as error:
        raise SetupError(f"`path` must be writable, got {str(target)!r} ({error.strerror}).") from error
    return target


def check_writable(path: str | os.PathLike[str], argument: str = "path") -> None:
    """Raise, before a long computation, where `save` would fail after it.

    Args:
        path: where a file is to be written.
        argument: what to call it in an error.

    Raises:
        SetupError: the folder does not exist or cannot be written to, or the path is a folder.

    >>> check_writable("missing/report.html")
    Traceback (most recent call last):
    steadygrad.errors.SetupError: `path` must be a file in an existing folder, got 'missing/report.html'.
    """
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        got = f"the folder {str(path)!r}" if target.is_dir() else repr(str(target))
        raise SetupError(f"`{argument}` must be a file in an existing folder, got {got}.")
    if not os.access(target.parent, os.W_OK):
        raise SetupError(f"`{argument}` must be in a folder that can be written to, got {str(target)!r}.")


def _replace(target: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0o600 is for secrets
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
