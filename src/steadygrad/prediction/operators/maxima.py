"""Largest places along some axes, and what goes back to them.

As a pool over one window that has them all: the largest is drawn, and a place gets the gradient by the chance that it
is the one, given what stands there. Going back torch asks which entries are equal to the largest and multiplies by
that, or it writes the gradient where the largest stood, among zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction.axes import renamed, sizes
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.largest import drawn_largest
from steadygrad.prediction.normal import taken_as_gaussian
from steadygrad.prediction.values import Chosen, Fill, Moments, Signal, Unknown, Value
from steadygrad.prediction.windows import Window

from . import decisions, likelihoods, pointwise, reductions
from .fills import argument
from .pooling import as_largest, full, to_largest
from .positions import Dims, apart_here, as_signal, axes_of, features, field_of, nowhere, spread_out, told_apart

aten = torch.ops.aten


def largest(otherwise: Rule) -> Rule:
    """The largest over dimensions that run over positions alone, and where it stood."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        tensor = call.args[0]
        value = spread_out(run, tensor, run.value(tensor))
        if not isinstance(value, Signal) or value.base is not None or not call.args[1:]:
            return otherwise(run, call)
        gone = _reduced(argument(call, "dim"), tensor.dim())
        found = _over_places(run, call, *told_apart(value, run.dims(tensor, value)), gone)
        if found is None:
            return otherwise(run, call)
        return found[0] if call.operator.overloadpacket is aten.amax else found

    return rule


def _reduced(dim: int | Iterable[int], count: int) -> list[int]:
    return [d % count for d in ([dim] if isinstance(dim, int) else dim)] or list(range(count))


def _over_places(run: Interpreter, call: Call, x: Signal, dims: Dims, gone: list[int]) -> tuple[Signal, Chosen] | None:
    """Return the largest, and where it stood; None where x does not say how places differ.

    Its source knows what it is the largest of.
    """
    out, roles = call.outs[0], {a.role for i in gone for a in dims[i]}
    x = x if x.wave is not None else taken_as_gaussian(x, features(call.args[0], dims, run.batch.size), run.batch)
    shape = sizes(dims)
    if x.wave is None or x.wave.source is None or min(roles, default=-1) < 0:
        return None
    source = x.wave.source
    if source.field is None or source.field.sizes != shape:
        return None
    windows = [Window(n, n, 0, n, 1) if i in roles else Window(1, 1, 0, n, n) for i, n in enumerate(shape)]
    x = replace(x, moments=replace(x.moments, field=field_of(x.moments, shape)))
    assert x.wave is not None
    drawn = drawn_largest(x.wave, windows, shape)
    keep = argument(call, "keepdim", False)
    left = tuple(() if i in gone else dim for i, dim in enumerate(dims) if keep or i not in gone)
    order = sorted({a.role for dim in left for a in dim if a.role >= 0})
    new = renamed(left, {role: i for i, role in enumerate(order)})
    found = as_largest(run, x, drawn, (source, windows), features(out, new, run.batch.size))
    chosen = Chosen(drawn.chances, x, dims, tuple(windows))
    assert found.wave is not None
    assert found.wave.source is not None
    found.wave.source.chosen = chosen
    return replace(found, axes=axes_of(run, new, out)), chosen


def which(otherwise: Rule) -> Rule:
    """Which entries are equal to the largest, going back."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        values = [run.value(t) for t in call.tensors] if run.backward else []
        sources = [v.wave.source for v in values if isinstance(v, Signal) and v.wave]
        found = next((source.chosen for source in sources if source and source.chosen), None)
        return otherwise(run, call) if found is None else found

    return rule


def how_many(otherwise: Rule) -> Rule:
    """How many entries are equal to the largest: one."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        one = isinstance(run.value(call.args[0]), Chosen)
        return Fill(1.0, 0.0, run.new_fill()) if one else otherwise(run, call)

    return rule


def sent_back(otherwise: Rule) -> Rule:
    """A gradient, where the largest stands; zeros elsewhere."""

    @functools.wraps(otherwise)
    def rule(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        known = [(t, run.value(t)) for t in call.tensors]
        chosen = next((v for _, v in known if isinstance(v, Chosen)), None)
        if chosen is None or chosen.of is None:
            return otherwise(run, call)
        rest = [t for t, v in known if not isinstance(v, Chosen) and not (isinstance(v, Fill) and v.variance == 0)]
        value = run.value(rest[0]) if len(rest) == 1 else Unknown("")
        g = as_signal(run, spread_out(run, rest[0], value)) if len(rest) == 1 else None
        if g is None or chosen.of.wave is None:
            return run.lost(f"{call.name} of something that is no gradient")
        g, dims = told_apart(g, run.dims(rest[0], value))
        g = replace(g, moments=_at_windows(g.moments, dims, chosen.windows))
        return to_largest(run, g, chosen.of, chosen.chances, list(chosen.windows), (chosen.dims, call.out))

    return rule


def _at_windows(m: Moments, dims: Dims, windows: tuple[Window, ...]) -> Moments:
    """Return a gradient over windows, one along each axis whose largest place was taken."""
    field: Field = field_of(m, sizes(dims)) or nowhere(apart_here(m))
    return replace(m, field=full(field, tuple(w.out for w in windows)))


def _taken_apart(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    return run.rules["taken apart"](run, call)


RULES: dict[Any, Rule] = {
    aten.amax: largest(reductions.RULES[aten.amax]),
    aten.max: largest(decisions.RULES[aten.max]),
    aten.eq: which(pointwise.RULE),
    aten.sum: how_many(likelihoods.RULES[aten.sum]),
    aten.mul: sent_back(likelihoods.RULES[aten.mul]),
    aten.scatter: sent_back(_taken_apart),
}
