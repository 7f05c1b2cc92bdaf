"""The operators that a function runs, as a graph: each with its operands, its line and its module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from steadygrad.tracing import SourceLine, is_run_by, running_module, source_line

_OWN = str(Path(__file__).parent) + os.sep

Operand: TypeAlias = "Operator | bool | int | float | None"

# These hand their first operand on: what is computed is still the same numbers.
_TRANSPARENT = frozenset(
    (
        *("alias", "clone", "contiguous", "detach", "expand", "lift_fresh", "permute", "reshape", "_reshape_alias"),
        *("squeeze", "t", "_to_copy", "transpose", "unsqueeze", "_unsafe_view", "view"),
    )
)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator that ran.

    Args:
        name: Its name without overload or trailing underscore, such as "exp"; "input" for a tensor from outside.
        operands: What went in: operators, numbers, and None for all else.
        source: The user's line.
        module: The path of the module that ran it.
        has_zero: Whether an entry of its first operand is exactly 0; asked of square roots alone.
        hides_nonfinite: Whether it is a `where` that drops an inf or NaN.
        is_own: Whether this package runs it, for a function of its own that the user calls.

    >>> Operator("exp", (Operator("input"),)).inputs[0].name
    'input'
    """

    name: str
    operands: tuple[Operand, ...] = ()
    source: SourceLine | None = None
    module: str | None = None
    has_zero: bool = False
    hides_nonfinite: bool = False
    is_own: bool = False

    @property
    def inputs(self) -> tuple[Operator, ...]:
        """The operands that are tensors."""
        return tuple(o for o in self.operands if isinstance(o, Operator))

    def ancestors(self, depth: int) -> Iterator[Operator]:
        """Yield this operator and what it was computed from, at most `depth` steps back; some more than once."""
        yield self
        for operand in self.inputs if depth else ():
            yield from operand.ancestors(depth - 1)


def operators_of(run: Callable[[], object], modules: Mapping[int, str]) -> tuple[Operator, ...]:
    """Run a function and return its operators in the order of execution.

    Args:
        run: A function without arguments.
        modules: The path of each module by its identity.

    >>> import torch
    >>> [op.name for op in operators_of(lambda: torch.ones(2).exp().sum(), {})]
    ['ones', 'exp', 'sum']
    """
    with _Recorder(modules) as recorder:
        run()
    return tuple(recorder.operators)


class _Recorder(TorchDispatchMode):
    def __init__(self, modules: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.modules = modules
        self.operators: list[Operator] = []
        self.made_by: Any = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        name = name if name in _TRANSPARENT else name.rstrip("_")
        operator = None if name in _TRANSPARENT else self._operator(name, args)  # before an in-place one changes them
        result = func(*args, **(kwargs or {}))
        maker = operator or self._operand(args[0])
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.made_by[tensor] = maker
        if operator is not None:
            self.operators.append(operator)
        return result

    def _operator(self, name: str, args: tuple[Any, ...]) -> Operator:
        return Operator(
            name,
            tuple(self._operand(a) for a in args),
            source_line(),
            running_module(self.modules),
            name in ("sqrt", "rsqrt", "std", "pow") and isinstance(args[0], Tensor) and bool((args[0] == 0).any()),
            name == "where" and len(args) == 3 and _hides_nonfinite(*args),
            is_run_by(_OWN),
        )

    def _operand(self, value: Any) -> Operand:
        if isinstance(value, Tensor):
            found: Operator = self.made_by.get(value) or self.made_by.setdefault(value, Operator("input"))
            return found
        if isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value):
            return Operator("list", tuple(self._operand(v) for v in value))
        return value if isinstance(value, bool | int | float) else None


def _hides_nonfinite(condition: Tensor, chosen: Any, other: Any) -> bool:
    return any(
        isinstance(branch, Tensor) and branch.is_floating_point() and bool((dropped & ~branch.isfinite()).any())
        for branch, dropped in ((chosen, ~condition), (other, condition))
    )
