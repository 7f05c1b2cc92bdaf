"""Where the user's own class begins that a module belongs to."""

from __future__ import annotations

import ast
import linecache
from dataclasses import replace
from pathlib import Path
from types import FunctionType

from torch import nn

from steadygrad.finding import Finding

_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def located(finding: Finding, model: nn.Module) -> Finding:
    """Return the finding, and its consequences, with the class line of its module where there is one.

    >>> from steadygrad.finding import Level
    >>> found = Finding(code="INI001", name="", level=Level.WARN, message="", module="0")
    >>> located(found, nn.Sequential(nn.Linear(1, 1))).defined is None
    True
    """
    consequences = tuple(located(one, model) for one in finding.consequences)
    defined = finding.defined or (None if finding.module is None else definition(model, finding.module))
    return replace(finding, defined=defined, consequences=consequences)


def definition(model: nn.Module, path: str) -> str | None:
    """Return ``"folder/file.py:12"`` of the class of the innermost module around a path that is not torch's own.

    The file is relative to the working directory where it lies in it. None where all classes are torch's, or were
    typed in by hand.
    """
    parts = path.split(".") if path else []
    for end in range(len(parts), -1, -1):
        try:
            kind = type(model.get_submodule(".".join(parts[:end])))
        except AttributeError:  # a path that a rule made for what is no module
            continue
        if kind.__module__.split(".")[0] != "torch" and (line := _class_line(kind)):
            return line
    return None


def _class_line(kind: type) -> str | None:
    """By the class's own functions: the module of a file that was checked is not in `sys.modules` any more."""
    files = [f.__code__.co_filename for f in vars(kind).values() if isinstance(f, FunctionType)]
    for file in files:
        names = kind.__qualname__.replace("<locals>.", "").split(".")
        if (line := _line_of(names, "".join(linecache.getlines(file)))) is not None:
            return f"{_relative(Path(file))}:{line}"
    return None


def _line_of(names: list[str], source: str) -> int | None:
    """The line of a class by its qualified name, functions that hold it included."""
    try:
        scope: ast.AST = ast.parse(source)
    except SyntaxError:
        return None
    for name in names:
        inside = [node for node in ast.walk(scope) if isinstance(node, _SCOPES) and node.name == name]
        if not inside:
            return None
        scope = inside[0]
    return scope.lineno if isinstance(scope, ast.ClassDef) else None


def _relative(file: Path) -> str:
    resolved, here = file.resolve(), Path.cwd()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()
