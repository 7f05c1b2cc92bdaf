"""Numbers that the user's code asks for: drawn where their distribution is known, refused where it is not.

`while (w.abs() > 2).any(): ...`, `.tolist()`, a factorisation or a sort of weights need numbers. A parameter of limited
size is drawn once, from a private generator, and what is computed of it is computed on that draw: a loop by rejection
ends as it does in reality. Numbers that depend on the signal are known where all draws agree. Nothing is guessed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from steadygrad.errors import SteadygradError
from steadygrad.tracing import source_line

from .kin_draws import Seeds
from .law import law_of
from .patchwork import is_dense
from .values import Concrete, Draws, Fill, Signal, Unknown, Value

if TYPE_CHECKING:
    from .interpreter import Call, Interpreter

NEEDS_NUMBERS = (DataDependentOutputException, DynamicOutputShapeException)
Part: TypeAlias = tuple[int, int, int]
LARGEST = 1 << 24  # entries of a tensor that is drawn: 64 MB
BUDGET = 1 << 27  # entries that are drawn in all
FEW = 200  # Gaussian entries whose mean square varies by a tenth from draw to draw: by sqrt(2/n)


class UnknownNumber(SteadygradError):
    """The user's code asks for a number that no theory gives; the message says where."""


class Drawn:
    """Draws of parameters: one for each source, so that a mask and what it was made of belong together."""

    def __init__(self) -> None:
        self.left = BUDGET
        self.seeds = Seeds()
        self.weights: dict[Part, tuple[torch.Tensor, Fill | Unknown]] = {}  # with the numbers, which so stay in place
        self._seed = 0
        self._given: dict[int, tuple[Fill, torch.Tensor]] = {}
        self._ranks: dict[tuple[int, int], torch.Tensor] = {}

    def generator(self) -> np.random.Generator:
        """Return a generator of its own for each draw."""
        self._seed += 1
        return np.random.default_rng(self._seed)

    def seeded(self) -> Any:
        """Return a context in which torch draws from a seed of ours, and its own state comes back."""
        self._seed += 1
        return _seeded(self._seed)

    def know(self, fill: Value, numbers: torch.Tensor) -> None:
        """From now on a draw of this fill are these numbers, which it was measured of."""
        if isinstance(fill, Fill):
            self._given[fill.source] = fill, numbers.contiguous().reshape(-1)

    def numbers(self, fill: Fill, tensor: torch.Tensor) -> torch.Tensor:
        """Return numbers for a tensor, laid out as it is."""
        if fill.variance == 0:
            return torch.full_like(_blank(tensor), fill.mean)
        if 0 in tensor.stride():  # the same numbers at all places of what was expanded
            sized = zip(tensor.shape, tensor.stride(), strict=True)
            held = torch.empty([1 if s == 0 else n for n, s in sized], dtype=tensor.dtype)
            return self.numbers(fill, held).expand(tensor.shape)
        known = self._known(fill, tensor)
        if known is not None:
            return _blank(tensor).copy_(known)
        flat = self._flat(fill, tensor)
        in_order = is_dense(tensor) and tensor.numel() > 0  # of memory, so that a transpose is that of the same numbers
        laid = flat.as_strided(tensor.shape, tensor.stride()) if in_order else flat.reshape(tensor.shape)
        return _blank(tensor).copy_(laid)

    def _known(self, fill: Fill, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the numbers that a fill was measured of, where it is still the same."""
        measured, flat = self._given.get(fill.source, (None, torch.empty(0)))
        sized = zip(tensor.shape, tensor.stride(), strict=True)
        last = tensor.storage_offset() + sum((n - 1) * step for n, step in sized)
        if measured is None or (measured.mean, measured.variance) != (fill.mean, fill.variance) or last >= len(flat):
            return None
        return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def _flat(self, fill: Fill, tensor: torch.Tensor) -> torch.Tensor:
        key, law = (fill.source, tensor.numel()), law_of(fill)
        if key not in self._ranks:
            self.left -= tensor.numel()
            ranks = np.searchsorted(np.cumsum(law.weights), self.generator().random(tensor.numel()))
            self._ranks[key] = torch.from_numpy(np.minimum(ranks, len(law.weights) - 1).astype(np.int32))
        return torch.from_numpy(fill.mean + fill.variance**0.5 * law.values)[self._ranks[key].long()]


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def is_drawable(run: Interpreter, values: list[Value], call: Call) -> bool:
    """Whether numbers can be had of all that an operator takes: data, and parameters of limited size."""
    if not all(isinstance(v, Concrete | Fill) for v in values):
        return False
    sizes = [t.numel() for t in call.tensors]
    made = sum(t.numel() for t in call.outs) if call.out is not None else 0
    return max([*sizes, made], default=0) <= LARGEST and sum(sizes) <= run.drawn.left


def real(run: Interpreter, tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers of data, or a draw of a parameter."""
    value = run.value(tensor)
    return run.drawn.numbers(value, tensor) if isinstance(value, Fill) else _plain(value)


def _plain(value: Value) -> torch.Tensor:
    assert isinstance(value, Concrete)
    return value.tensor


def computed(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Run an operator on numbers. What it writes into is a copy: no data of the user's are changed."""
    written = call.written
    numbers = {id(t): real(run, t) for t in call.tensors}
    if not run.constructing and _takes_few_numbers(run, call):
        run.chance = True
        run.note(said(call, "takes a few numbers that differ from call to call, or from draw to draw: those of one"))
    for t in written:
        numbers[id(t)] = run.memory.own(t, numbers[id(t)])
    with run.drawn.seeded() if torch.Tag.nondeterministic_seeded in call.operator.tags else contextlib.nullcontext():
        out = call.substituted(lambda t: numbers[id(t)])
    outs = out if isinstance(out, list | tuple) else (out,)
    chance = any(_by_chance(run.value(t)) for t in call.tensors)
    kept = tuple(Concrete(x, own=bool(written), drawn=chance) for x in outs if isinstance(x, torch.Tensor))
    return kept if isinstance(out, list | tuple) else kept[0]


def _takes_few_numbers(run: Interpreter, call: Call) -> bool:
    """Whether an operator meets one drawn number, or draws so few, that another draw has another size."""
    if any(t.numel() == 1 and _is_drawn(run.value(t)) for t in call.tensors):
        return True
    by_chance = torch.Tag.nondeterministic_seeded in call.operator.tags
    return by_chance and any(t.numel() < FEW and t.is_floating_point() for t in call.outs)


def _is_drawn(value: Value) -> bool:
    return isinstance(value, Fill) and value.variance > 0


def _by_chance(value: Value) -> bool:
    """Whether another draw of the weights, or another call, would give other numbers."""
    return _is_drawn(value) or (isinstance(value, Concrete) and value.drawn)


def told(run: Interpreter, call: Call) -> Any:
    """Return real numbers where fake tensors have none.

    Raises:
        UnknownNumber: they depend on what is not drawn, or differ from draw to draw.
    """
    values = [run.value(t) for t in call.tensors]
    if is_drawable(run, values, call):
        if not run.constructing and any(map(_by_chance, values)):
            run.chance = True
            run.note(said(call, "asks for a number that differs from call to call, or from draw to draw: one is taken"))
        return call.substituted(lambda t: real(run, t))
    unknown = next((v for v in values if isinstance(v, Unknown)), None)
    if unknown is not None:
        raise UnknownNumber(said(call, f"asks for a number that is not known: {unknown.reason}"))
    if all(isinstance(v, Draws | Concrete) or (isinstance(v, Fill) and v.variance == 0) for v in values):
        return _agreed(run, call)
    kind = "a signal" if any(isinstance(v, Signal | Draws) for v in values) else "a parameter of this size"
    raise UnknownNumber(said(call, f"needs the numbers of {kind}"))


def _agreed(run: Interpreter, call: Call) -> Any:
    """What an operator gives on every draw of the signal, where that is the same."""
    from .interpreter import sampled

    draws = {id(t): v for t in call.tensors if isinstance(v := run.value(t), Draws)}
    outs = sampled(call, run, draws)
    if not all(_same(out, outs[0]) for out in outs):
        raise UnknownNumber(said(call, "needs a number that differs from draw to draw"))
    return outs[0]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return all(map(_same, a, b))
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    return bool(a == b) or (a != a and b != b)


def said(call: Call, reason: str) -> str:
    """Return a reason with the operator and the line of the user's code."""
    line = source_line()
    return f"{call.name} {reason}" + (f" ({line})" if line else "")
