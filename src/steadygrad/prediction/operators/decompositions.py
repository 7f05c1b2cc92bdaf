"""Operators without a rule of their own: taken apart as torch takes them apart, into operators that have one.

A gated linear unit is two halves and a product, a shuffle of pixels a transpose. The outcome is as exact as its pieces
are, and what the pieces have in common is followed as far as their rules follow it. Where a piece has no rule either,
the operator is run on samples, if these fit, as a sort or a largest few is: approximate. Else it is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._decomp import decomposition_table

from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.memory import covers
from steadygrad.prediction.outside import inside
from steadygrad.prediction.values import Draws, Signal, Unknown, Value

from .copies import same

aten = torch.ops.aten


def _unshuffled(x: torch.Tensor, factor: int) -> torch.Tensor:
    *lead, channels, height, width = x.shape
    parts = x.reshape(*lead, channels, height // factor, factor, width // factor, factor)
    parts = parts.movedim((-3, -1), (-4, -3))
    return parts.reshape(*lead, channels * factor**2, height // factor, width // factor)


def _shuffled(x: torch.Tensor, factor: int) -> torch.Tensor:
    *lead, channels, height, width = x.shape
    parts = x.reshape(*lead, channels // factor**2, factor, factor, height, width).movedim((-4, -3), (-3, -1))
    return parts.reshape(*lead, channels // factor**2, height * factor, width * factor)


def _regrouped(x: torch.Tensor, groups: int) -> torch.Tensor:
    return x.reshape(len(x), groups, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


def _repeated(x: torch.Tensor, repeats: list[int]) -> torch.Tensor:
    x = x.reshape(*(1,) * (len(repeats) - x.dim()), *x.shape)
    each = [n for pair in zip(repeats, x.shape, strict=True) for n in pair]
    places = [n for size in x.shape for n in (1, size)]
    return x.reshape(places).expand(each).clone().reshape([r * n for r, n in zip(repeats, x.shape, strict=True)])


PIECES = {
    aten.repeat.default: _repeated,
    aten.pixel_shuffle.default: _shuffled,
    aten.pixel_unshuffle.default: _unshuffled,
    aten.channel_shuffle.default: _regrouped,
}


def taken_apart(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """What the pieces of an operator give; where one of them has no rule, what samples of its arguments give."""
    made = _of_pieces(run, call)
    if made is not None:
        return made
    said = len(run.unknown)
    over = all(isinstance(run.value(t), Draws) and covers(t) for t in call.written)
    found = run.rules["sampled"](run, call) if _has_signal(run, call) and over else None
    if found is not None and not isinstance(found, Unknown):
        return found
    del run.unknown[said:]
    return run.lost(f"no rule for {call.name}")


def _has_signal(run: Interpreter, call: Call) -> bool:
    return any(isinstance(run.value(t), Signal | Draws) for t in call.tensors)


def _of_pieces(run: Interpreter, call: Call) -> Value | tuple[Value, ...] | None:
    pieces: Any = PIECES.get(call.operator) or decomposition_table.get(call.operator)
    if pieces is None or call.operator._schema.is_mutable:
        return None
    with _aside(run), inside(run):
        made = pieces(*call.args, **call.kwargs)
    values = [_placed(run, x, out) for x, out in zip(_listed(made), _listed(call.out), strict=True)]
    if any(isinstance(v, Unknown) for v in values):
        return None
    return tuple(values) if isinstance(call.out, list | tuple) else values[0]


@contextlib.contextmanager
def _aside(run: Interpreter) -> Iterator[None]:
    """Neither record the pieces nor keep what they say of themselves: the operator speaks for them."""
    calls, said = run.calls, list(run.unknown)
    run.calls = None
    try:
        yield
    finally:
        run.calls, run.unknown[:] = calls, said


def _listed(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _placed(run: Interpreter, made: Any, out: Any) -> Value:
    """What is known of a piece's outcome, laid out as that of the operator."""
    if not isinstance(made, torch.Tensor) or not isinstance(out, torch.Tensor):
        return Unknown("nothing came")
    value = same(run, Call(aten.clone.default, (made,), {}, out))
    return value[0] if isinstance(value, tuple) else value


RULE = taken_apart
