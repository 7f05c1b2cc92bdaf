"""The interpreter: a dispatch mode that follows moments through every operator that the user's own code runs.

It runs inside a FakeTensorMode: tensors have shapes and claim a real device, and no number is ever computed. What is
known of each tensor stands in a `Memory`; an operator's rule is looked up in the table of `operators`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeGuard

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.errors import SteadygradError
from steadygrad.tracing import source_line

from . import demands, writes
from .axes import Dimension, default, dimensions, entries
from .batch import Batch
from .coherence import Coherence
from .conversions import require
from .entrywise import REDUCTIONS, is_entrywise
from .fakes import UNSEEN, Fakes
from .kinship import Given, Kinship
from .leaning import Leanings
from .memory import IN_PARTS, SOME, Memory, part_of
from .outside import inside, outside
from .source import Source
from .spread import Noises
from .values import Concrete, Cropped, Draws, Fill, Moments, Signal, Unknown, Value

aten = torch.ops.aten
DEVICE = torch.ops.prim.device.default
UNSAFE_VIEWS = (aten._unsafe_view, aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unsafe_chunk)
REAL = (torch.Tensor, torch.nn.Parameter)
UNTIED = 64  # weights that are met one after the other, none again, until origins are no more kept: they take memory
Rule = Callable[["Interpreter", "Call"], "Value | tuple[Value, ...]"]


class OutOfTime(SteadygradError):
    """The interpreter was given so many seconds, and they are over; raised at every operator from then on."""


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

    @property
    def outs(self) -> list[torch.Tensor]:
        """The tensors that came out."""
        return [x for x in (self.out if isinstance(self.out, list | tuple) else (self.out,)) if _is_tensor(x)]

    @property
    def written(self) -> list[torch.Tensor]:
        """The tensors among the arguments that the operator writes into."""
        if not self.operator._schema.is_mutable:
            return []
        named = zip(self.operator._schema.arguments, self.args, strict=False)
        written = [x for parameter, x in named if parameter.alias_info and parameter.alias_info.is_write]
        return [x for x in [*written, self.kwargs.get("out")] if _is_tensor(x)]

    def substituted(self, replace: Callable[[torch.Tensor], Any]) -> Any:
        """Run the operator on other tensors."""
        args = [_replaced(arg, replace) for arg in self.args]
        kwargs = {key: _replaced(arg, replace) for key, arg in self.kwargs.items()}
        return self.operator(*args, **kwargs)

    def of(self, tensors: dict[int, torch.Tensor], out: torch.Tensor) -> Call:
        """Return the call as one of other tensors, by the ids of those at hand, with another outcome."""
        args = tuple(_replaced(arg, lambda t: tensors.get(id(t), t)) for arg in self.args)
        kwargs = {key: _replaced(arg, lambda t: tensors.get(id(t), t)) for key, arg in self.kwargs.items()}
        return Call(self.operator, args, kwargs, out)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an operator's first output."""

    name: str
    path: str
    shape: tuple[int, ...]
    value: Value
    backward: bool


def _is_tensor(x: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(x, torch.Tensor)


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

    def __init__(self, batch: Batch, rules: dict[Any, Rule], fake: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.fake = fake
        self.fakes = Fakes(fake)
        self.rules = rules
        self.memory = Memory(batch.size)
        self.noises = Noises()
        self.unknown: list[str] = []
        self.constructing = False
        self.backward = self.in_loss = False
        self.chance = False  # whether what runs depends on a number that is drawn
        self.drawn = demands.Drawn()
        self.sources: dict[int, Source | None] = {}
        self.filled: dict[tuple[int, int], Moments] = {}
        self.tables: dict[int, Moments] = {}  # what was looked up in a table, by its fill
        self.uses: dict[tuple[int, bool, bool], tuple[Moments, Moments]] = {}
        self.kinship, self.tied = Kinship(batch), False
        self.drawn.seeds.kin = self.kinship.correlation
        self.meets_all = False  # whether examples met each other in a product, as a contrastive loss has it
        self.products: set[tuple[int, int, int]] = set()  # sizes of products of signals that were had of samples
        self.leanings = Leanings(self.kinship)
        self.coherence = Coherence(self.kinship, self.noises, batch)
        self.calls: list[Seen] | None = None
        self._where: Callable[[], str] = str
        self._fills = 0
        self.sent_back: set[int] = set()  # numbers that are the gradient of a sum or a mean of entries
        self._seconds, self._end = math.inf, math.inf

    def allow(self, seconds: float) -> None:
        """From now on follow operators for so many seconds of this thread's own time, whatever else the machine does.

        What the user's code does between two operators, and an operator's own rule, is not interrupted.
        """
        self._seconds, self._end = seconds, time.thread_time() + seconds

    def record(self, where: Callable[[], str] | None) -> None:
        """From now on keep what each operator gave, under the path that `where` says; None keeps nothing."""
        self.calls, self._where = (None, str) if where is None else ([], where)

    @property
    def remembers(self) -> bool:
        """Whether signals keep how they came about: until many weights were met once each, and where one was twice."""
        return self.tied or (not self.backward and len(self.sources) <= UNTIED)

    def new_fill(self) -> int:
        """Return the id of a new draw of numbers."""
        self._fills += 1
        return self._fills - 1

    def value(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor; one that is no fake tensor is its own data."""
        if type(tensor) in REAL:
            return Concrete(tensor, fixed=tensor.shape[:1] != (self.batch.size,))
        value = self.memory.get(tensor)
        if value is SOME:
            return self._of_some(tensor)
        if isinstance(value, Cropped) and value.shape != tuple(tensor.shape):
            self.settle(tensor, value)
            value = self.memory.get(tensor)
        return self._assembled(tensor) if value is IN_PARTS else value

    def _of_some(self, tensor: torch.Tensor) -> Value:
        """Return samples of some of the examples, those that samples of all have; unknown where these have none."""
        each = entries(tensor) // self.batch.size
        with inside(self.fake):
            whole = tensor.as_strided((self.batch.size, each), (each, 1), 0)
        found = self.rules["sampled"](self, Call(aten.clone.default, (whole,), {}, whole))
        return part_of(found, tensor, self.batch.size) if isinstance(found, Draws) else SOME

    def settle(self, tensor: torch.Tensor, value: Cropped) -> None:
        """Know a storage by the moments that samples of a part of it have."""
        self.memory.put(tensor, self.rules["settled"](self, Call(aten.clone.default, (value,), {}, tensor)))  # type: ignore[arg-type]

    def _assembled(self, tensor: torch.Tensor) -> Value:
        found = self.rules["assembled"](self, Call(aten.clone.default, (tensor,), {}, tensor))
        return found[0] if isinstance(found, tuple) else found

    def dims(self, tensor: torch.Tensor, known: Value | None = None) -> tuple[Dimension, ...]:
        """Return what each dimension of a tensor runs over: examples, positions or features."""
        value = self.value(tensor) if known is None else known
        axes = value.axes if isinstance(value, Signal) else None
        return dimensions(axes or default(entries(tensor), self.batch.size), tuple(tensor.shape), tensor.stride())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator on fake tensors, then follow its moments."""
        if func is DEVICE and type(args[0]) is FakeTensor:
            return args[0].fake_device  # autograd asks for it at every step
        if self._end < math.inf and time.thread_time() > self._end:
            raise OutOfTime(f"not predicted within {self._seconds:.3g} s")
        kwargs = kwargs or {}
        if kwargs.get("device") is not None:
            require(kwargs["device"])
        with outside():
            key = self.fakes.key(func, args, kwargs)
            out = UNSEEN if key is None else self.fakes.answer(key, args)
        if out is UNSEEN:
            try:
                out = func(*args, **kwargs)
            except demands.NEEDS_NUMBERS:
                return self._told(Call(func, args, kwargs, None))
            if key is not None:
                with outside():
                    self.fakes.learn(key, args, kwargs, out)
        if func.namespace != "prim" and (not _is_view(func) or type(args[0]) in REAL):
            with outside(), torch.no_grad(), np.errstate(all="ignore"):  # overflow is a finding, not a warning
                self._follow(Call(func, args, kwargs, out))
        return out

    def _told(self, call: Call) -> Any:
        """Answer with numbers what fake tensors cannot."""
        with outside(), torch.no_grad():
            out = demands.told(self, call)
        return [self.fake_of(x) for x in out] if isinstance(out, list | tuple) else self.fake_of(out)

    def fake_of(self, x: Any) -> Any:
        """Return a fake tensor whose numbers are known; what is no tensor stays as it is."""
        if not isinstance(x, torch.Tensor):
            return x
        fake = self.fake.from_tensor(x)
        self.memory.put(fake, Concrete(x))
        return fake

    def _follow(self, call: Call) -> None:
        outs = call.out if isinstance(call.out, list | tuple) else (call.out,)
        if not call.outs:
            return
        result = self._result(call)
        values = tuple(map(self._told_apart, result if isinstance(result, tuple) else (result,) * len(outs)))
        for tensor, value in zip(outs, values, strict=False):
            if not _is_tensor(tensor):
                continue  # a gradient that nobody asked for
            if isinstance(value, Concrete):
                value = self._placed(call, tensor, value)
            if call.operator._schema.is_mutable:
                self.write(tensor, value)
            else:
                self.memory.put(tensor, value)
        if self.calls is not None:
            path = "" if self.backward else self._where()
            first = call.outs[0]
            value = values[next(i for i, out in enumerate(outs) if out is first)]
            self.calls.append(Seen(call.name, path, tuple(first.shape), value, self.backward))

    def _placed(self, call: Call, tensor: torch.Tensor, value: Concrete) -> Concrete:
        """Return numbers that know whether they may be of the examples: some they were computed of must be."""
        if not call.tensors:
            return replace(value, fixed=tensor.shape[:1] != (self.batch.size,))
        return replace(value, fixed=all(map(self._is_fixed, call.tensors)))

    def _is_fixed(self, tensor: torch.Tensor) -> bool:
        value = self.value(tensor)
        return value.fixed if isinstance(value, Concrete) else isinstance(value, Fill) and self.memory.is_fixed(tensor)

    def _told_apart(self, value: Value) -> Value:
        """Return a signal that no rule gave an origin as one that is known where it is met again."""
        if not isinstance(value, Signal) or value.moments.origin is not None or not self.remembers:
            return value
        moments = replace(value.moments, origin=Given())
        if value.wave is not None and value.wave.gaussian and value.wave.source is not None:
            value.wave.source.root = value.wave.source.root or moments
        return replace(value, moments=moments, base=moments if value.base is value.moments else value.base)

    def write(self, tensor: torch.Tensor, value: Value) -> None:
        """Know a tensor, or a part of its storage, by a value."""
        writes.write(self, tensor, value)

    def _result(self, call: Call) -> Value | tuple[Value, ...]:
        rule = self.rules.get(call.operator.overloadpacket) or self._in_place(call)
        values = [self._settled(call, t) for t in call.tensors]
        if rule is not None and getattr(rule, "fills", False):
            return self._ruled(rule, call)
        lost = next((v for v in values if isinstance(v, Unknown)), None)
        if lost is not None:
            return lost if lost.reason in self.unknown else self.lost(f"{call.name} of {lost.reason}")
        if _is_computed(rule, values) and (values or _draws_integers(call)):
            return demands.computed(self, call)
        return self._inferred(rule or self._general(call), call, values)

    def _settled(self, call: Call, tensor: torch.Tensor) -> Value:
        """What is known of an argument; samples of a part serve none but an operator that takes entry by entry."""
        value = self.value(tensor)
        if not isinstance(value, Cropped) or is_entrywise(call.operator):
            return value
        if call.operator.overloadpacket in REDUCTIONS and not self.backward:
            return value
        self.settle(tensor, value)
        return self.value(tensor)

    def _in_place(self, call: Call) -> Rule | None:
        """The rule of an operator that does the same out of place."""
        name = call.operator.overloadpacket.__name__
        return self.rules.get(getattr(torch.ops.aten, name[:-1], None)) if name.endswith("_") else None

    def _general(self, call: Call) -> Rule:
        return self.rules["pointwise" if torch.Tag.pointwise in call.operator.tags else "taken apart"]

    def _inferred(self, rule: Rule | None, call: Call, values: list[Value]) -> Value | tuple[Value, ...]:
        """What a rule says; of parameters that no rule follows, what one draw of them gives."""
        said = len(self.unknown)
        result = self._ruled(rule, call) if rule else self.lost(f"no rule for {call.name}")
        if not isinstance(result, Unknown) or self.backward or not demands.is_drawable(self, values, call):
            return result
        del self.unknown[said:]
        return demands.computed(self, call)

    def _ruled(self, rule: Rule, call: Call) -> Value | tuple[Value, ...]:
        """What a rule says; where it fails, that this is unknown: a profile must not end in an error of ours."""
        try:
            return rule(self, call)
        except Exception as error:
            return self.lost(f"the rule for {call.name} failed: {type(error).__name__}: {error}")

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


def _is_computed(rule: Rule | None, values: list[Value]) -> bool:
    """Whether an operator on numbers is run: not where a weight that is computed of a draw meets data."""
    numbers = [v for v in values if isinstance(v, Concrete)]
    if len(numbers) < len(values) or getattr(rule, "moves", False):
        return False
    return not getattr(rule, "weighs", False) or len({v.drawn for v in numbers}) < 2


@cache
def _is_view(func: Any) -> bool:
    return bool(func.is_view) or torch.Tag.inplace_view in func.tags or func.overloadpacket in UNSAFE_VIEWS


def _draws_integers(call: Call) -> bool:
    """Whether an operator without tensors makes integers by chance, such as a permutation: any one is like another."""
    return torch.Tag.nondeterministic_seeded in call.operator.tags and not call.out.is_floating_point()


def sampled(call: Call, run: Interpreter, draws: dict[int, Draws]) -> list[Any]:
    """Run an operator once for each draw; `draws` gives the samples by the id of the argument.

    What it writes into is a copy: a sum that is written into zeros starts from zeros at each draw.
    """
    count = len(next(iter(draws.values())).values)
    fixed = {id(t): numbers(run.value(t), t) for t in call.tensors if id(t) not in draws}
    wide = replace(
        call, args=tuple(_wide(arg) for arg in call.args), kwargs={key: _wide(arg) for key, arg in call.kwargs.items()}
    )
    written = {id(t) for t in call.written}

    def of_draw(t: torch.Tensor, s: int) -> torch.Tensor:
        known = draws[id(t)].values[s] if id(t) in draws else fixed[id(t)]
        known = (
            known.bool() if t.dtype == torch.bool else known
        )  # a signal's nodes are numbers, whatever they stand for
        return known.clone() if id(t) in written else known

    return [wide.substituted(lambda t, s=s: of_draw(t, s)) for s in range(count)]  # type: ignore[misc]


def _wide(arg: Any) -> Any:
    """Samples are in single precision: so is what they are asked to become."""
    return torch.float32 if isinstance(arg, torch.dtype) and arg in (torch.float16, torch.bfloat16) else arg


def numbers(value: Value, tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose numbers are known: data, or one number everywhere."""
    match value:
        case Concrete(tensor=known):
            return known.float() if known.dtype in (torch.float16, torch.bfloat16) else known
        case Fill(variance=0.0, mean=mean):
            return torch.full(tensor.shape, mean, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype)
        case _:
            raise TypeError(f"a {type(value).__name__} has no numbers")
