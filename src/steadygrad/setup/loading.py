"""Reading a setup from a file: ``"file.py:name"``."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from steadygrad.errors import SetupError

from .training_setup import Setup
from .user_code import user_code

DEFAULT_NAME = "setup"


def load(spec: str, *, prepare: Callable[[object], object] | None = None) -> Setup:
    """Run a file, call one of its functions, and return the setup that it gives.

    The file runs as a module of its own with its folder first on `sys.path`, so that its neighbours can be imported;
    afterwards `sys.path` and `sys.modules`' entry for the file are as they were.

    Args:
        spec: ``"file.py:name"``, or ``"file.py"`` for the function called `setup`.
        prepare: what to do with what the function returns, before it is read as a setup.

    Raises:
        SetupError: there is no such file or name, the name is no function without arguments, or what it returns
            cannot be used.
        UserCodeError: the file or the function raised.

    >>> load("missing.py")
    Traceback (most recent call last):
    steadygrad.errors.SetupError: `file` must be an existing Python file, got 'missing.py'.
    """
    name = _parts(spec)[1]
    with function_of(spec) as make:
        with user_code(f"`{name}`"):
            made = make()
        return _setup_from(made if prepare is None else prepare(made), name)


def file_of(spec: str) -> Path:
    """Return the file of ``"file.py:name"``, as it is written.

    Raises:
        SetupError: there is no such file, or what follows the colon is no name.

    >>> file_of("missing.py")
    Traceback (most recent call last):
    steadygrad.errors.SetupError: `file` must be an existing Python file, got 'missing.py'.
    """
    return _parts(spec)[0]


@contextmanager
def function_of(spec: str) -> Iterator[Callable[[], object]]:
    """Run a file and give one of its functions, uncalled, while its folder is on `sys.path`.

    Args:
        spec: as for `load`.

    Raises:
        SetupError: there is no such file or name, or the name is no function without arguments.
        UserCodeError: the file raised.
    """
    file, name = _parts(spec)
    with _executed(file) as module:
        yield _callable(module, name, file)


def _parts(spec: str) -> tuple[Path, str]:
    """The file and the name; a colon inside of the path, as after a drive, is not taken for the separator."""
    head, colon, tail = spec.rpartition(":")
    file, name = (head, tail) if colon and not spec.endswith(".py") else (spec, DEFAULT_NAME)
    if not name.isidentifier():
        raise SetupError(f"`name` after the colon must be a Python name, got {name!r}.")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise SetupError(f"`file` must be an existing Python file, got {file!r}.{_nearest_file(path)}")
    return path, name


def _nearest_file(path: Path) -> str:
    beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f" Did you mean {str(path.parent / near[0])!r}?" if near else ""


@contextmanager
def _executed(file: Path) -> Iterator[ModuleType]:
    """The file as a module, run; its folder stays on the path, and it in `sys.modules`, inside of the block alone."""
    # A name of its own: a file called random.py must not take the place of the module that others import.
    spec = importlib.util.spec_from_file_location(f"_setup_{file.stem}", file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path, before = list(sys.path), sys.modules.get(spec.name)
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[spec.name] = module
    try:
        with user_code(f"`{file}`"):
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.path[:] = path
        del sys.modules[spec.name]
        if before is not None:
            sys.modules[spec.name] = before


def _callable(module: ModuleType, name: str, file: Path) -> Callable[[], object]:
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, _own_functions(module), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SetupError(
            f"{file} must define the function to check, got no {name!r} in it.{hint} FILE.py:NAME names one."
        )
    found = getattr(module, name)
    # A module instance is callable too, but with inputs.
    if not callable(found) or isinstance(found, nn.Module):
        raise SetupError(f"`{name}` must be a function that returns a setup, got {type(found).__name__}.")
    if needed := _required_arguments(found):
        raise SetupError(f"`{name}` must be callable without arguments, got one that needs {', '.join(needed)}.")
    return found  # type: ignore[no-any-return]


def _own_functions(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _required_arguments(function: Callable[..., object]) -> list[str]:
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [f"`{p.name}`" for p in parameters if p.default is p.empty and p.kind not in optional]


def _setup_from(made: object, name: str) -> Setup:
    try:
        return Setup.of(made)
    except SetupError as error:
        raise SetupError(f"{error} It came from `{name}`.") from error
