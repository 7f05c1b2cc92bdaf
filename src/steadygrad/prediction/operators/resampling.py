"""Resampling: known linear maps along positions, such as interpolation, reflected borders, rolls and running sums.

The matrix of the map is had by running the operator on a basis, one axis at a time; what two positions have in common
passes it by their lags. Features that are mixed become positions, independent but for their mean. Approximate: the
outcome is taken as Gaussian where entries are mixed; where each is one of the input's it stays what it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction.axes import EXAMPLE, Axis, renamed, roles
from steadygrad.prediction.field import Array, Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.position_maps import mapped
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import Concrete, Fill, Moments, Signal, Value

from .fills import argument
from .joins import kept, within_zeros
from .pointwise import on_draws
from .pooling import pooled_signal
from .positions import Dims, axes_of, laid_out, on_a_grid

aten = torch.ops.aten
Function = Callable[[torch.Tensor], torch.Tensor]
LARGEST = 1 << 22  # entries of a basis that are run at once
TOLERANCE = 1e-9


def resampled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A map along the dimensions that an operator of images or sequences changes: those behind the second."""
    return _along(run, call, list(range(min(2, call.args[0].dim() - 1), call.args[0].dim())))


def moved(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A map along the dimensions that are named: a roll, a flip, a running sum."""
    dims = argument(call, "dims", argument(call, "dim", []))
    named = [dims] if isinstance(dims, int) else list(dims)
    return _along(run, call, [d % call.args[0].dim() for d in named] or list(range(call.args[0].dim())))


def padded(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """One number around what is there, or what is there cut down: along positions by their places."""
    tensor, value = call.args[0], run.value(call.args[0])
    pads = list(call.args[1])
    changed = sorted(tensor.dim() - 1 - i // 2 for i in range(0, len(pads), 2) if pads[i] or pads[i + 1])
    if not isinstance(value, Signal) or not changed:
        return within_zeros(run, call) if argument(call, "value", 0) == 0 else on_draws(run, call)
    dims = run.dims(tensor)
    here = all(len(dims[i]) == 1 and dims[i][0].role >= 0 for i in changed)
    result = _along(run, call, changed) if here else within_zeros(run, call)
    number = float(argument(call, "value", 0))
    return result if number == 0 or not isinstance(result, Signal) else _beside(run, call, result, number)


def _beside(run: Interpreter, call: Call, x: Signal, number: float) -> Signal:
    """Return a signal among zeros with a number in their place: nothing of the one meets anything of the other."""
    share, m = 1 - kept(call.args[0], call.out), x.moments
    q = m.q + number**2 * share
    field = m.field and m.field.mapped(lambda gap: np.minimum(gap * float(m.q.mean() / q.mean()), 2.0))
    m = replace(m, mean=m.mean + number * share, q=q, field=field)
    source = gaussian(m, max(call.out.numel() // run.batch.size, 1), run.batch)
    return replace(x, moments=m, wave=Wave(source, source.nodes, gaussian=True))


def _along(run: Interpreter, call: Call, mixed: list[int]) -> Value | tuple[Value, ...]:
    value = run.value(call.args[0])
    if isinstance(value, Fill) and value.variance == 0:
        return value if call.operator.overloadpacket is not aten.cumsum else on_draws(run, call)
    found = positioned(run, call.args[0], mixed) if isinstance(value, Signal) else None
    if found is None:
        return on_draws(run, call)
    function, shape, back = _forward_of(call)
    matrices = dict(zip(mixed, _matrices(function, shape, mixed), strict=True))
    return through(run, call, found, {i: a.T if back else a for i, a in matrices.items()})


def known_map(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A batch of products with one known matrix, as the neighbours of a graph are summed: a map along its rows."""
    a, b = call.args[:2]
    left, right = run.value(a), run.value(b)
    if isinstance(left, Concrete) and isinstance(right, Signal):
        numbers, tensor, at = left.tensor, b, 1
    elif isinstance(right, Concrete) and isinstance(left, Signal):
        numbers, tensor, at = right.tensor.transpose(1, 2), a, 2
    else:
        return run.lost(f"{call.name} of {_kind(left)} and {_kind(right)}")
    found = positioned(run, tensor, [at])
    if found is None or not bool((numbers == numbers[:1]).all()):
        return run.lost(f"{call.name} of a signal and a matrix for each example")
    run.note(
        f"{call.name} by a known matrix: what positions have in common is followed as a function of their distance"
    )
    return through(run, call, found, {at: numbers[0].double().numpy()})


def _kind(value: Value) -> str:
    return type(value).__name__.lower()


def positioned(run: Interpreter, tensor: torch.Tensor, mixed: list[int]) -> tuple[Signal, Dims] | None:
    """Return a signal over its positions and the dimensions that are mixed; None where these are the examples."""
    dims = run.dims(tensor)
    if any(EXAMPLE in roles(dims[i]) or len(dims[i]) > 1 for i in mixed):
        return None
    places = {i for i, dim in enumerate(dims) if any(a.role >= 0 for a in dim)}
    shared = tuple(sorted(places | {i for i in mixed if tensor.shape[i] > 1}))
    found = laid_out(run, tensor, shared)
    return on_a_grid(*found) if found else None


def _forward_of(call: Call) -> tuple[Function, list[int], bool]:
    """Return the map as a function, the shape of what it takes, and whether this is the way back through it."""
    packet, shape, rest = call.operator.overloadpacket, list(call.args[0].shape), list(call.args[1:])
    name = packet.__name__
    if packet is aten.constant_pad_nd:
        return lambda x: call.operator(x, rest[0]), shape, False
    if not name.endswith("_backward"):
        return lambda x: call.operator(x, *rest, **call.kwargs), shape, False
    forward = getattr(aten, name.removesuffix("_backward"))
    if "upsample" in name:
        size = rest.pop(1)
        return lambda x: forward(x, *rest, **call.kwargs), list(size), True
    like = rest.pop(0)
    return lambda x: forward(x, *rest, **call.kwargs), list(like.shape), True


def _matrices(function: Function, shape: list[int], mixed: list[int]) -> list[Array]:
    """Return the map's matrix along each of these dimensions, of which it is a product.

    On a basis along one of them, and ones along the others, it gives its matrix times what the others make of ones:
    summed over those, all matrices together have that factor once too often for each but one.
    """
    found = [_on_basis(function, shape, mixed, i) for i in mixed]
    if len(mixed) == 1:
        return found
    total = float(found[0].sum())
    return [found[0], *(a / total if total else a for a in found[1:])]


def _on_basis(function: Function, shape: list[int], mixed: list[int], at: int) -> Array:
    size, places = shape[at], math.prod(shape[i] for i in mixed)
    few = max(LARGEST // places, 1)
    rows = []
    for start in range(0, size, few):
        chosen = torch.arange(start, min(start + few, size))
        one = torch.zeros([len(chosen), size], dtype=torch.float64).scatter_(1, chosen[:, None], 1.0)
        view = [len(chosen), *(size if i == at else 1 for i in range(1, len(shape)))]
        x = one.reshape(view).expand([len(chosen), *(shape[i] if i in mixed else 1 for i in range(1, len(shape)))])
        y = function(x.contiguous())
        rows.append(y.movedim(at, 1).reshape(len(chosen), y.shape[at], -1).sum(2).numpy())
    return np.asarray(np.concatenate(rows).T)


def through(run: Interpreter, call: Call, found: tuple[Signal, Dims], matrices: dict[int, Array]) -> Value:
    """Return a signal behind a matrix along each of some dimensions, [outcomes, positions]."""
    (x, dims), out = found, call.out
    by_role = {dims[i][0].role: a for i, a in matrices.items() if dims[i]}
    for i, a in matrices.items():
        if not dims[i] and a.shape != (1, 1):  # one place that becomes many: all of them are it
            return run.lost(f"{call.name} of one position")
    m = _mapped(x.moments, by_role)
    new = tuple((Axis(d[0].role, len(matrices[i]), 1),) if i in matrices and d else d for i, d in enumerate(dims))
    m, new = _without_single(m, new)
    if x.base is None and x.wave is not None and x.wave.source is not None and all(map(_selects, matrices.values())):
        return _reordered(run, call, x, m, by_role, new)
    return pooled_signal(run, x, m, new, out)


def _mapped(m: Moments, by_role: dict[int, Array]) -> Moments:
    if m.field is None:
        return m
    return mapped(m, [by_role.get(role, np.eye(n)) for role, n in enumerate(m.field.sizes)])


def _selects(matrix: Array) -> bool:
    """Whether each outcome is one of the positions."""
    return bool((np.abs(matrix - (matrix > 0.5)) < TOLERANCE).all() and (np.abs(matrix.sum(1) - 1) < TOLERANCE).all())


def _reordered(run: Interpreter, call: Call, x: Signal, m: Moments, by_role: dict[int, Array], dims: Dims) -> Signal:
    """Return entries of the input in other places: the same function of units that count as others."""
    assert x.wave is not None
    assert x.wave.source is not None
    source, place = x.wave.source, (str(call.operator), str(call.args[1:]), str(call.kwargs))
    field = m.field
    if field is not None and source.field is not None and len(source.field.sizes) > max(by_role, default=-1):
        of_units = Moments(source.mean, source.std**2 + source.mean**2, source.gap, source.spread, field=source.field)
        field = _without_single(_mapped(of_units, by_role), dims)[0].field
    wave = Wave(source.part(place, 1.0, field), x.wave.values, x.wave.gaussian)
    return Signal(m, wave, None, x.ancestors, x.linear, "approximate", axes_of(run, dims, call.out))


def _without_single(m: Moments, dims: Dims) -> tuple[Moments, Dims]:
    """Return what is left where a dimension has one place."""
    if m.field is None or all(n > 1 for n in m.field.sizes):
        return m, dims
    kept = [role for role, n in enumerate(m.field.sizes) if n > 1]
    shape = tuple(n for n in m.field.sizes if n > 1)
    parts = (m.field.share, m.field.within, m.field.across)
    field = Field(*(a.reshape(shape) for a in parts)) if shape else None
    left = tuple(tuple(a for a in dim if a.role < 0 or a.role in kept) for dim in dims)
    return replace(m, field=field), renamed(left, {role: k for k, role in enumerate(kept)})


NEAREST = tuple(f"{kind}{n}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for n in "123")
UPSAMPLES = (*NEAREST, "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d")
BORDERS = tuple(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in "123")
RULES: dict[Any, Rule] = {
    **{getattr(aten, f"{name}{way}"): resampled for name in (*UPSAMPLES, *BORDERS) for way in ("", "_backward")},
    **dict.fromkeys((aten.roll, aten.flip, aten.cumsum), moved),
    aten.constant_pad_nd: padded,
}
