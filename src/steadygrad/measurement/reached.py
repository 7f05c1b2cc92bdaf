"""What a function of the user's holds on to: the objects that it may change beside those that it is handed."""

from __future__ import annotations

import functools
import random
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from .kept import attributes_kept
from .restored import restored, values_back

# From the function to a closure's object, its dictionary, and the tensors in it, with one step to spare.
_DEEPEST = 4

_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib"))
_LEAVES = (str, bytes, int, float, complex, type(None), type)


@dataclass(kw_only=True, eq=False)
class Reached:
    """Objects that a function can change, each once.

    Attributes:
        modules: such as a copy of the model that averages it.
        optimizers: such as that of a second network.
        tensors: that none of the others holds.
        holders: objects with attributes, of the user's own classes or of torch's: schedulers, scalers, counters.
        containers: lists, dictionaries, sets, and generators of random numbers.
        cells: variables of the functions around it.
        names: global variables of its module, each as (namespace, name).
    """

    modules: list[nn.Module] = field(default_factory=list)
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    holders: list[Any] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    cells: list[CellType] = field(default_factory=list)
    names: list[tuple[dict[str, Any], str]] = field(default_factory=list)

    @classmethod
    def by(cls, function: Callable[..., Any], besides: Iterable[Any] = ()) -> Reached:
        """Look through closures, defaults, bound objects and global names.

        Args:
            function: a function, a method, a partial, or an object that can be called.
            besides: what is kept elsewhere, and is not looked into.

        >>> counts = {"steps": 0}
        >>> Reached.by(lambda batch: counts.update(steps=1)).containers
        [{'steps': 0}]
        """
        found, seen = cls(), {id(x) for x in besides if x is not None}
        waiting: deque[tuple[Any, int]] = deque([(function, 0)])
        while waiting:
            thing, depth = waiting.popleft()
            if id(thing) in seen or isinstance(thing, _LEAVES):
                continue
            seen.add(id(thing))
            inside = found._sorted_in(thing)
            if depth < _DEEPEST:
                waiting.extend((x, depth + 1) for x in inside)
        return found

    def _sorted_in(self, thing: Any) -> Iterable[Any]:
        """Keep one object in its list, and return what lies in it."""
        match thing:
            case nn.Module():
                self.modules.append(thing)
            case torch.optim.Optimizer():
                self.optimizers.append(thing)
            case torch.Tensor():
                self.tensors.append(thing)
            case MethodType():
                return thing.__self__, thing.__func__
            case functools.partial():
                return thing.func, *thing.args, *thing.keywords.values()
            case FunctionType() if _is_the_users(thing.__globals__.get("__file__")):
                return self._of_function(thing)
            case dict() | list() | set() | deque():
                self.containers.append(thing)
                return list(thing.values()) if isinstance(thing, dict) else list(thing)
            case torch.Generator() | random.Random() | np.random.Generator() | np.random.RandomState():
                self.containers.append(thing)
            case tuple():
                return thing
            case torch.utils.data.DataLoader() | torch.utils.data.Dataset():
                pass  # where the data stand is kept with the data
            case object(__dict__=dict()) if _is_kept(type(thing)):
                self.holders.append(thing)
                return *vars(thing).values(), getattr(type(thing), "__call__", None)  # noqa: B004
        return ()

    def _of_function(self, function: FunctionType) -> list[Any]:
        cells = [cell for cell in function.__closure__ or () if _is_filled(cell)]
        names = {name for code in _codes(function.__code__) for name in code.co_names if name in function.__globals__}
        self.cells += cells
        self.names += [(function.__globals__, name) for name in sorted(names)]
        return [
            *(cell.cell_contents for cell in cells),
            *(function.__globals__[name] for name in sorted(names)),
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put all of it back at the end of a block, bit for bit.

        >>> counts = {"steps": 0}
        >>> def count(batch): counts["steps"] += 1
        >>> with Reached.by(count).kept():
        ...     count(None)
        >>> counts
        {'steps': 0}
        """
        with ExitStack() as stack:
            for namespace, name in self.names:
                stack.callback(namespace.__setitem__, name, namespace[name])
            for cell in self.cells:
                stack.callback(setattr, cell, "cell_contents", cell.cell_contents)
            stack.enter_context(restored(self.modules))
            for optimizer in self.optimizers:
                stack.enter_context(restored((), optimizer))
            stack.enter_context(attributes_kept(*self.holders, *map(_Held, self.containers)))
            stack.callback(values_back(t for t in self.tensors if t.layout == torch.strided and not t.is_meta))
            yield


@dataclass(frozen=True)
class _Held:
    """A container, looked at as the attribute of an object."""

    contents: Any


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that is not bound yet
        return False


def _is_kept(kind: type) -> bool:
    """Whether objects of a class are put back: the user's own, torch's and this package's; not files or loggers."""
    if kind.__module__.split(".")[0] in ("torch", "steadygrad"):
        return True
    module = sys.modules.get(kind.__module__)
    return kind.__module__ != "builtins" and (module is None or _is_the_users(getattr(module, "__file__", None)))


def _is_the_users(file: str | None) -> bool:
    """Whether a file is neither the standard library's nor an installed package's; a session has no file."""
    return file is None or not str(Path(file).resolve()).startswith(_INSTALLED)
