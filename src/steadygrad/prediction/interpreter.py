"""The interpreter: a dispatch mode that follows moments through every operator that the user's own code runs.

It runs inside a FakeTensorMode: tensors have shapes and claim a real device, and no number is ever computed. What is
known of each tensor stands in a `Memory`; an operator's rule is looked up in the table of `operators`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.tracing import source_line

from .axes import Dimension, default, dimensions, entries
from .batch import Batch
from .memory import Memory, covers
from .outside import outside
from .source import Source
from .spread import Noises
from .values import Concrete, Draws, Fill, Signal, Unknown, Value

aten = torch.ops.aten
UNSAFE_VIEWS = (aten._unsafe_view, aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unsafe_chunk)
MOST_NUMBERS = 1 << 24  # that are written out where one number fills a tensor
Rule = Callable[["Interpreter", "Call"], "Value | tuple[Value, ...]"]


@dataclass(frozen=True, slots=True)
class Call:
    """One operator that ran: its overload, arguments and outcome (fake tensors)."""

    operator: torch._ops.OpOverload[Any, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    @property
    def name(self) -> str:
        """The operator's name, as in ``aten.addmm``."""
        return str(self.operator.overloadpacket)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments, in order, those in lists too."""
        flat = [*self.args, *self.kwargs.values()]
        nested = [x for arg in flat for x in (arg if isinstance(arg, list | tuple) else (arg,))]
        return [x for x in nested if isinstance(x, torch.Tensor)]

    def substituted(self, replace: Callable[[torch.Tensor], Any]) -> Any:
        """Run the operator on other tensors."""
        args = [_replaced(arg, replace) for arg in self.args]
        kwargs = {key: _replaced(arg, replace) for key, arg in self.kwargs.items()}
        return self.operator(*args, **kwargs)


def _replaced(arg: Any, replace: Callable[[torch.Tensor], Any]) -> Any:
    match arg:
        case torch.Tensor():
            return replace(arg)
        case list() | tuple():
            return [_replaced(x, replace) for x in arg]
        case _:
            return arg


class Interpreter(TorchDispatchMode):
    """Follow moments through operators; `unknown` collects those without a rule, with their lines."""

    def __init__(self, batch: Batch, rules: dict[Any, Rule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.rules = rules
        self.memory = Memory(batch.size)
        self.noises = Noises()
        self.unknown: list[str] = []
        self.backward = False
        self.sources: dict[int, Source | None] = {}
        self._fills = 0

    def new_fill(self) -> int:
        """Return the id of a new draw of numbers."""
        self._fills += 1
        return self._fills - 1

    def value(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor; one that is no fake tensor is its own data."""
        if type(tensor) in (torch.Tensor, torch.nn.Parameter):
            return Concrete(tensor)
        return self.memory.get(tensor)

    def dims(self, tensor: torch.Tensor, known: Value | None = None) -> tuple[Dimension, ...]:
        """Return what each dimension of a tensor runs over: examples, positions or features."""
        value = self.value(tensor) if known is None else known
        axes = value.axes if isinstance(value, Signal) else None
        return dimensions(axes or default(entries(tensor), self.batch.size), tuple(tensor.shape), tensor.stride())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator on fake tensors, then follow its moments."""
        out = func(*args, **(kwargs or {}))
        if func.namespace != "prim" and not _is_view(func):
            with outside(), torch.no_grad(), np.errstate(all="ignore"):  # overflow is a finding, not a warning
                self._follow(Call(func, args, kwargs or {}, out))
        return out

    def _follow(self, call: Call) -> None:
        outs = [x for x in (call.out if isinstance(call.out, list | tuple) else (call.out,))]
        tensors = [x for x in outs if isinstance(x, torch.Tensor)]
        if not tensors:
            return
        result = self._result(call)
        values = result if isinstance(result, tuple) else (result,) * len(tensors)
        for tensor, value in zip(tensors, values, strict=False):
            self._store(call, tensor, value)

    def _store(self, call: Call, tensor: torch.Tensor, value: Value) -> None:
        if call.operator._schema.is_mutable and not covers(tensor):
            if isinstance(value, Signal):
                return self.memory.put_part(tensor, value)
            value = _patched(self.memory.get(tensor), value, tensor)
        self.memory.put(tensor, value)

    def _result(self, call: Call) -> Value | tuple[Value, ...]:
        rule = self.rules.get(call.operator.overloadpacket)
        values = [self.value(t) for t in call.tensors]
        fills = rule is not None and getattr(rule, "fills", False)
        lost = next((v for v in values if isinstance(v, Unknown)), None)
        if lost is not None and not fills:
            return lost
        if values and all(isinstance(v, Concrete) for v in values) and not fills and not getattr(rule, "moves", False):
            return self._computed(call)
        if rule is None and values and all(_is_known(v) for v in values) and _is_small(call):
            return self._computed(call)
        return self._ruled(rule, call) if rule else self.lost(f"no rule for {call.name}")

    def _ruled(self, rule: Rule, call: Call) -> Value | tuple[Value, ...]:
        """What a rule says; where it fails, that this is unknown: a profile must not end in an error of ours."""
        try:
            return rule(self, call)
        except Exception as error:
            return self.lost(f"the rule for {call.name} failed: {type(error).__name__}: {error}")

    def _computed(self, call: Call) -> Value | tuple[Value, ...]:
        if torch.Tag.nondeterministic_seeded in call.operator.tags:
            return self.lost(f"{call.name} draws random numbers from data")
        out = call.substituted(lambda t: numbers(self.value(t), t, wide=False))
        return tuple(Concrete(x) for x in out) if isinstance(out, list | tuple) else Concrete(out)

    def note(self, reason: str) -> None:
        """Note what is followed only in part."""
        if reason not in self.unknown:
            self.unknown.append(reason)

    def lost(self, reason: str) -> Unknown:
        """Note what cannot be followed, with its line, and return that nothing is known."""
        line = None if self.backward else source_line()
        said = f"{reason} ({line})" if line else f"{reason}, going backward" if self.backward else reason
        if said not in self.unknown:
            self.unknown.append(said)
        return Unknown(said)


def _is_known(value: Value) -> bool:
    """Whether all numbers are known."""
    return isinstance(value, Concrete) or (isinstance(value, Fill) and value.variance == 0)


def _is_small(call: Call) -> bool:
    return sum(t.numel() for t in call.tensors) <= MOST_NUMBERS


def _is_view(func: Any) -> bool:
    return bool(func.is_view) or torch.Tag.inplace_view in func.tags or func.overloadpacket in UNSAFE_VIEWS


def _patched(whole: Value, part: Value, tensor: torch.Tensor) -> Value:
    """Return what is known of a storage of which one part was written: a mixture of the two."""
    share = tensor.numel() * tensor.element_size() / tensor.untyped_storage().nbytes()
    if not isinstance(whole, Fill) or not isinstance(part, Fill):
        return Unknown("memory written in part")
    mean = share * part.mean + (1 - share) * whole.mean
    second = share * (part.variance + part.mean**2) + (1 - share) * (whole.variance + whole.mean**2)
    return Fill(mean, second - mean**2, part.source, mark="approximate")


def sampled(call: Call, run: Interpreter, draws: dict[int, Draws]) -> list[Any]:
    """Run an operator once for each draw; `draws` gives the samples by the id of the argument."""
    count = len(next(iter(draws.values())).values)
    fixed = {id(t): numbers(run.value(t), t) for t in call.tensors if id(t) not in draws}
    wide = replace(
        call, args=tuple(_wide(arg) for arg in call.args), kwargs={key: _wide(arg) for key, arg in call.kwargs.items()}
    )
    return [
        wide.substituted(lambda t, s=s: draws[id(t)].values[s] if id(t) in draws else fixed[id(t)])  # type: ignore[misc]
        for s in range(count)
    ]


def _wide(arg: Any) -> Any:
    """Samples are in single precision: so is what they are asked to become."""
    return torch.float32 if isinstance(arg, torch.dtype) and arg in (torch.float16, torch.bfloat16) else arg


def numbers(value: Value, tensor: torch.Tensor, *, wide: bool = True) -> torch.Tensor:
    """Return a tensor whose numbers are known: data, or one number everywhere; half precision in single if `wide`."""
    match value:
        case Concrete(tensor=known):
            return known.float() if wide and known.dtype in (torch.float16, torch.bfloat16) else known
        case Fill(variance=0.0, mean=mean):
            kind = torch.float32 if wide and tensor.is_floating_point() else tensor.dtype
            return torch.full(tensor.shape, mean, dtype=kind)
        case _:
            raise TypeError(f"a {type(value).__name__} has no numbers")
