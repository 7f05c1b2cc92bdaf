"""Operators without a rule of their own: taken apart as torch takes them apart, into operators that have one.

A gated linear unit is two halves and a product, a shuffle of pixels a transpose. The outcome is as exact as its pieces
are, and what the pieces have in common is followed as far as their rules follow it. Where a piece has no rule either,
the operator itself is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch._refs  # which registers most of them
from torch._decomp import decomposition_table

from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.outside import inside
from steadygrad.prediction.values import Unknown, Value

from .copies import same

aten = torch.ops.aten


def taken_apart(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """What the pieces of an operator give."""
    pieces = decomposition_table.get(call.operator)
    if pieces is None or call.operator._schema.is_mutable:
        return run.lost(f"no rule for {call.name}")
    with _aside(run), inside(run):
        made = pieces(*call.args, **call.kwargs)
    values = [_placed(run, x, out) for x, out in zip(_listed(made), _listed(call.out), strict=True)]
    if any(isinstance(v, Unknown) for v in values):
        return run.lost(f"no rule for {call.name}")
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
    return same(run, Call(aten.clone.default, (made,), {}, out))


RULE = taken_apart
