"""Which module and which source line an operator comes from, read from the running stack.

Works inside any dispatch mode, function mode or hook, because it looks at Python's frames alone: no state is kept, so
nothing has to be restored, and torch is never imported.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_HERE = str(Path(__file__).parent) + "/"
_PLUMBING = frozenset({contextlib.__file__, functools.__file__})  # decorators such as `no_grad` run user code in these
_CALL = "_call_impl"  # torch.nn.Module runs every forward in a method of this name, which holds the module as `self`


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's code.

    Args:
        file: The path of the file, as Python knows it.
        line: The line, from 1.
        function: The function that the line belongs to, with its class.

    >>> print(SourceLine("/home/me/model.py", 12, "Net.forward"))
    model.py:12
    """

    file: str
    line: int
    function: str

    @property
    def text(self) -> str:
        """The source text of the line, stripped; empty where the source is not available."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


def source_line(*, skip: tuple[str, ...] = ()) -> SourceLine | None:
    """Return the innermost line being run that belongs neither to torch nor to this package.

    Args:
        skip: Prefixes of further file paths to look through, such as a library's folder.

    Returns:
        The line, or None where every frame belongs to torch, this package or `skip`. In a backward pass it is the line
        that started it. Costs about a microsecond; the text is read only when asked for.

    >>> here = source_line()
    >>> here.line, here.text
    (1, 'here = source_line()')
    """
    for frame in _frames():
        file = frame.f_code.co_filename
        if not _is_inside(file) and not file.startswith(skip):
            return SourceLine(file, frame.f_lineno, frame.f_code.co_qualname)
    return None


def running_module(paths: Mapping[int, str]) -> str | None:
    """Return the path of the innermost module whose forward is being run.

    Args:
        paths: The path of each module by its identity: `{id(m): path for path, m in model.named_modules()}`.

    Returns:
        The path ("" for the root), or None outside every module of `paths`.

    >>> running_module({}) is None
    True
    """
    for frame in _frames():
        if frame.f_code.co_name == _CALL:
            path = paths.get(id(_self(frame)))
            if path is not None:
                return path
    return None


def is_run_by(folder: str) -> bool:
    """Return whether the operator being run was called from a file in `folder`.

    Args:
        folder: A path that ends in a separator. Files of torch, and the file that asks, are looked through.

    >>> is_run_by("/nowhere/")
    False
    """
    asking = sys._getframe(1).f_code.co_filename
    for frame in _frames():
        file = frame.f_code.co_filename
        if file != asking and not _is_plumbing(file):
            return file.startswith(folder)
    return False


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _self(frame: FrameType) -> Any:
    return frame.f_locals.get("self")


@functools.cache
def _is_inside(file: str) -> bool:
    """Whether a file belongs to torch, to this package or to the plumbing between them and the user."""
    return _is_plumbing(file) or file.startswith(_HERE)


@functools.cache
def _is_plumbing(file: str) -> bool:
    """Whether a file belongs to torch or to what it calls users through."""
    return file in _PLUMBING or file.startswith(("<frozen", "<eval_with_key", *_torch_folders()))


def _torch_folders() -> tuple[str, ...]:
    torch = sys.modules.get("torch")
    return () if torch is None else tuple(f"{folder}/" for folder in torch.__path__)
