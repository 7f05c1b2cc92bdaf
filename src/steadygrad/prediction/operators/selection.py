"""Gradients of a part that was selected, such as the class token or the last step: zeros everywhere else.

Along positions the part keeps its place: the gradient's second moment stands at the places that were selected, and
every rule that comes after takes it from there. Along features, as of a half, the outcome has the mean of both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction.axes import EXAMPLE, FEATURE, Axis, roles, sizes
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Draws, Moments, Signal, Value

from .fills import argument
from .joins import within_zeros
from .positions import Dims, apart_here, as_signal, axes_of, field_of, nowhere, spread_alone, spread_out, told_apart

aten = torch.ops.aten


def put_back(run: Interpreter, call: Call) -> Value:
    """A gradient at the places that were selected, among zeros."""
    at, value = argument(call, "dim") % call.out.dim(), run.value(call.args[0])
    if isinstance(value, Draws) and at == 0:
        return within_zeros(run, call)
    x = as_signal(run, spread_out(run, call.args[0], value))
    if x is None or at == call.out.dim() - 1:
        return within_zeros(run, call)
    x, dims = told_apart(x, run.dims(call.args[0]))
    if len(dims) < call.out.dim():
        dims = (*dims[:at], (), *dims[at:])
    if EXAMPLE in roles(dims[at]) or len(dims[at]) > 1:
        return within_zeros(run, call)
    places = _places(call, at)
    m, dims = _at(x.moments, dims, at, (places, call.out.shape[at]))
    return Signal(m, None, m, x.ancestors, None, "approximate", axes_of(run, dims, call.out))


def _places(call: Call, at: int) -> slice:
    """Return which places were selected: the first, the end and the step."""
    size = call.out.shape[at]
    if call.operator.overloadpacket is aten.select_backward:
        index = argument(call, "index") % size
        return slice(index, index + 1, 1)
    return slice(*slice(argument(call, "start"), argument(call, "end"), argument(call, "step")).indices(size))


def _at(m: Moments, dims: Dims, at: int, where: tuple[slice, int]) -> tuple[Moments, Dims]:
    """Return moments that stand at these places of a dimension of so many, and all dimensions."""
    places, size = where
    field, role = field_of(m, sizes(dims)), next((a.role for a in dims[at] if a.role >= 0), None)
    if role is None:
        role = len(sizes(dims))
        gap = spread_alone(m) if FEATURE in roles(dims[at]) else 0.0
        count = max(sum(a.size for a in dims[at]), 1)
        field = (field or nowhere(apart_here(m))).widened((count,), gap, gap)
    assert field is not None
    kept = field.sizes[role] / size
    field = field.among(role, places, size)
    dims = (*dims[:at], (Axis(role, size, 1),), *dims[at + 1 :])
    return replace(m, mean=m.mean * kept, q=m.q * kept, d=m.d * kept, field=field, excess=m.excess, origin=None), dims


RULES: dict[Any, Rule] = dict.fromkeys((aten.slice_backward, aten.select_backward), put_back)
