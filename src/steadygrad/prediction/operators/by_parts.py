"""Operators of single units, part by part where units stand side by side that are not alike.

The rule is asked once more for each part, of views of those units alone. So a function of parts that differ in size is
the function of each, and what goes back through it has what each part's own slopes make of it. Approximate: how much
the second moment of all varies over draws stays that of parts taken for one, as all is of more than `MOST` parts, whose
rules would take as many times as long.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import torch
from torch._subclasses.fake_tensor import FakeTensor

from steadygrad.prediction import unit_parts
from steadygrad.prediction.axes import FEATURE
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.outside import inside
from steadygrad.prediction.unit_parts import UnitPart
from steadygrad.prediction.values import Signal, Value

MOST = 8  # parts that an operator is followed through one by one
Met: TypeAlias = list[tuple[torch.Tensor, Signal]]
"""The signals among the arguments, and their tensors."""


def by_parts(rule: Rule) -> Rule:
    """Return the rule with its outcome known part by part, where an argument is."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        met = [(t, v) for t in call.tensors if isinstance(v := run.value(t), Signal)]
        found = rule(run, call)
        along = _along(run, met) if isinstance(found, Signal) else None
        if not isinstance(found, Signal) or along is None:
            return found
        said = len(run.unknown)
        made = ((n, _made(run, rule, piece, known, found)) for n, piece, known in _calls(run, call, met, along))
        each = [(n, x) for n, x in made if x is not None]
        del run.unknown[said:]
        return _side_by_side(found, each, call.out.shape[along])

    return ruled


def _along(run: Interpreter, met: Met) -> int | None:
    """Return the dimension, from the last, that runs over all units; None where no argument has parts, or too many."""
    parts = [x.unit_parts for _, x in met if x.unit_parts is not None]
    if not parts or max(map(len, parts)) > MOST:
        return None
    found = set.intersection(*(_of_units(run, t, x, unit_parts.count(parts[0])) for t, x in met if x.unit_parts))
    return found.pop() if len(found) == 1 else None


def _of_units(run: Interpreter, tensor: torch.Tensor, x: Signal, units: int) -> set[int]:
    """Return the dimensions, from the last, that run over one axis of so many features."""
    dims = run.dims(tensor, x)
    return {i - len(dims) for i, dim in enumerate(dims) if [(a.role, a.size) for a in dim] == [(FEATURE, units)]}


def _calls(run: Interpreter, call: Call, met: Met, along: int) -> Iterator[tuple[int, Call, dict[int, Signal]]]:
    """Yield how many units a piece has, the call on views of it, and what is known of these, by their ids."""
    units = call.out.shape[along]
    for start, size, parts in unit_parts.pieces(*(x.unit_parts for _, x in met)):
        views = {
            id(t): _narrowed(run, t, along, start, size)
            for t in (*call.tensors, call.out)
            if t.dim() >= -along and t.shape[along] == units
        }
        known = {id(views.get(id(t), t)): _of_part(x, part) for (t, x), part in zip(met, parts, strict=True)}
        yield size, call.of(views, views[id(call.out)]), known


def _narrowed(run: Interpreter, tensor: torch.Tensor, along: int, start: int, size: int) -> torch.Tensor:
    if not isinstance(tensor, FakeTensor):
        return tensor.narrow(along, start, size)
    with inside(run.fake):
        return tensor.narrow(along, start, size)


def _of_part(x: Signal, part: UnitPart | None) -> Signal:
    """Return what is known of a part; of a signal whose units are alike that."""
    return replace(x, unit_parts=None) if part is None or part.signal is None else part.signal


def _made(run: Interpreter, rule: Rule, call: Call, known: dict[int, Signal], whole: Signal) -> Signal | None:
    """Return what a rule makes of a part; None where that is not of the kind that it makes of the whole."""
    with run.memory.knowing(known):
        made = rule(run, call)
    if not isinstance(made, Signal) or (made.base is None) != (whole.base is None):
        return None
    fields = made.moments.field, whole.moments.field
    if (fields[0] and fields[0].sizes) != (fields[1] and fields[1].sizes):
        return None
    return replace(made, axes=whole.axes, parts=None, unit_parts=None)


def _side_by_side(whole: Signal, each: list[tuple[int, Signal]], units: int) -> Signal:
    """Return the whole with its parts, and the moments that these have on average."""
    if sum(n for n, _ in each) != units:
        return whole
    mean, q, d = (sum(n / units * getattr(x.moments, name) for n, x in each) for name in ("mean", "q", "d"))
    moments = replace(whole.moments, mean=mean, q=q, d=d)
    base = moments if whole.base is whole.moments else whole.base
    parts = unit_parts.relative([(n, float(x.moments.q.mean()), x) for n, x in each])
    return replace(whole, moments=moments, base=base, unit_parts=parts)
