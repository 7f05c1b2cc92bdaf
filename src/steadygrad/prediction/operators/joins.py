"""Joins and their reverse: tensors side by side, padded, or put back into a larger one of zeros.

The joined tensor has the mean of the parts' moments, by their sizes, and is taken as Gaussian with them; what takes
unit by unit, as a function, a factor, a sum or a norm, is followed part by part. What two parts have in common is not
followed; a stacked dimension counts as features, which become positions where a weight is shared over it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import each_pair, of_mean, unit_parts
from steadygrad.prediction.axes import EXAMPLE, FEATURE, Axis, entries, roles, sizes
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.field import Field, white
from steadygrad.prediction.interpreter import Call, Interpreter, Rule, numbers
from steadygrad.prediction.kinship import Beside
from steadygrad.prediction.memory import IN_PARTS
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import blur_of, scaled
from steadygrad.prediction.side_by_side import together_distributed
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.unit_parts import Parts, UnitPart
from steadygrad.prediction.values import Array, Concrete, Draws, Fill, Moments, ParameterGradient, Signal, Value

from .fills import argument
from .pointwise import on_draws
from .positions import Dims, apart_here, as_signal, axes_of, features, field_of, parameter, spread_out, together

aten = torch.ops.aten
LARGEST = 1 << 24  # entries of memory whose parts are told apart
MOST_PAIRS = 8  # of steps a lag that are looked at


def cat(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Parts along a dimension, weighted by their sizes."""
    tensors = [t for t in call.args[0] if t.numel()]
    values = [spread_out(run, t, run.value(t)) for t in tensors]
    if all(isinstance(v, ParameterGradient) for v in values):
        return _of_parameters(tensors, values)
    if all(isinstance(v, Fill) for v in values):
        return _of_fills(tensors, values)
    if all(isinstance(v, Concrete) or (isinstance(v, Fill) and v.variance == 0) for v in values):
        return _of_data(run, call, values)
    if any(isinstance(v, Draws) for v in values):
        return on_draws(run, call)
    parts = [parameter(run, v) if isinstance(v, Fill) else as_signal(run, v) for v in values]
    signals = [p for p in parts if p is not None]
    if len(signals) < len(parts) or len({p.base is None for p in signals if p.moments.q.any()}) > 1:
        return run.lost(f"{call.name} of something that is no signal")
    return _joined(run, call, tensors, signals)


def _of_data(run: Interpreter, call: Call, values: list[Value]) -> Value:
    """Data beside numbers that are the same everywhere, as a class token that starts at zero: data."""
    joined = call.substituted(lambda t: numbers(run.value(t), t))
    return Concrete(joined, drawn=any(isinstance(v, Concrete) and v.drawn for v in values))


def _of_parameters(tensors: list[torch.Tensor], values: list[Value]) -> Value:
    whole = sum(t.numel() for t in tensors)
    parts = zip(tensors, values, strict=True)
    return ParameterGradient(sum(t.numel() / whole * v.q for t, v in parts if isinstance(v, ParameterGradient)))


def _of_fills(tensors: list[torch.Tensor], values: list[Value]) -> Value:
    """Parameters side by side: one distribution with the mean of their moments."""
    parts = [(t.numel(), v) for t, v in zip(tensors, values, strict=True) if isinstance(v, Fill)]
    whole = sum(n for n, _ in parts)
    mean = sum(n / whole * v.mean for n, v in parts)
    second = sum(n / whole * (v.mean**2 + v.variance) for n, v in parts)
    largest = max(parts, key=lambda part: part[0] * (part[1].variance > 0))[1]
    return Fill(mean, max(second - mean**2, 0.0), largest.source, largest.kurtosis, "approximate")


def _joined(run: Interpreter, call: Call, tensors: list[torch.Tensor], signals: list[Signal]) -> Value:
    stacked = call.operator.overloadpacket is aten.stack
    dim = argument(call, "dim", 0) % call.out.dim()
    found = [_widest(run, t) for t in tensors]
    if not stacked and any(EXAMPLE in roles(dims[dim]) for dims in found if dims):
        return _on_samples(run, call)
    pairs = list(zip(tensors, signals, strict=True))
    if stacked:
        moments, whole = [s.moments for s in signals], next((d for d in found if d), ((),) * (call.out.dim() - 1))
        whole = (*whole[:dim], (Axis(FEATURE, call.out.shape[dim], 1),), *whole[dim:])
    else:
        moments, whole = _side_by_side(run, pairs, dim, call.out)
    shares = [t.numel() / call.out.numel() for t in tensors]
    if stacked and run.tied and not sizes(whole):
        return _steps(run, call, signals, (moments, shares), whole, dim)
    counts = [0 if stacked else t.shape[dim] for t in tensors]
    if roles(whole[dim]) != {FEATURE} or sum(counts) != features(call.out, whole, run.batch.size):
        return _mixture(run, call.out, signals, (moments, shares), whole)
    joined = _mixture(run, call.out, signals, (moments, shares), whole, of=of_units(moments, counts, run.batch))
    return replace(joined, unit_parts=_unit_parts(joined, counts, signals, moments))


def _unit_parts(joined: Signal, counts: list[int], signals: list[Signal], moments: list[Moments]) -> Parts | None:
    """Return units side by side; of a join that was joined again those that it was joined of."""
    found: list[tuple[int, float, Signal | None]] = []
    for n, x, m in zip(counts, signals, moments, strict=True):
        q, held = float(m.q.mean()), x.unit_parts
        if held is None or unit_parts.count(held) != n:
            held = (UnitPart(n, 1.0, x),)
        found.extend((part.units, q * part.level, _laid_as(joined, part, m)) for part in held)
    return unit_parts.relative(found)


def _laid_as(joined: Signal, part: UnitPart, m: Moments) -> Signal:
    """Return a part over the positions of what it was joined to; where it has others, as all that it came with is."""
    x, gradient = part.signal, joined.base is not None
    if x is None or _positions(x.moments) != _positions(joined.moments):
        m = scaled(m, part.level**0.5)
        return Signal(m, None, m if gradient else None, joined.ancestors, None, "approximate", joined.axes)
    base = x.base if x.base is not None or not gradient else x.moments
    return replace(x, base=base, axes=joined.axes, parts=None, unit_parts=None)


def _positions(m: Moments) -> tuple[int, ...]:
    return m.field.sizes if m.field else ()


def _on_samples(run: Interpreter, call: Call) -> Value:
    found = on_draws(run, call)
    assert not isinstance(found, tuple)
    return found


def _steps(
    run: Interpreter, call: Call, signals: list[Signal], parts: tuple[list[Moments], list[float]], dims: Dims, dim: int
) -> Value:
    """Steps that met the same weights, stacked: positions, which have in common what their origins say.

    What those that are looked at at a lag have in common, all have that are so far apart, as large as they are.
    """
    moments, count = parts[0], len(parts[0])
    sized = np.array([m.q.mean() for m in moments])
    q = max(float(sized.mean()), 1e-300)
    within, across = np.zeros(count), np.zeros(count)
    for lag in range(count):
        starts = range(0, count - lag, -(-(count - lag) // MOST_PAIRS))
        together = np.sqrt(sized[: count - lag] * sized[lag:])
        alike = np.array([run.kinship.of(moments[i], moments[i + lag]) for i in starts])
        within[lag], across[lag] = 1 - _weighed(alike, together[:: starts.step]) * together.mean() / q
    within[0] = 0.0
    field = Field(sized / q, np.clip(within, 0.0, 2.0), np.clip(across, 0.0, 2.0))
    varied = float(np.mean([s * s * run.coherence.of_entries(m) for m, s in zip(moments, sized, strict=True)])) / q**2
    field = field.raised(varied)
    whole = (*dims[:dim], (Axis(0, count, 1),), *dims[dim + 1 :])
    joined = _mixture(run, call.out, signals, parts, whole, field)
    return _as_distributed(run, joined, signals, features(call.out, whole, run.batch.size))


def _weighed(values: Array, weights: Array) -> Array:
    """Return the mean of rows by weight; the plain one where all of these are zero."""
    return np.average(values, axis=0, weights=weights if weights.any() else None)


def _as_distributed(run: Interpreter, joined: Signal, signals: list[Signal], units: float) -> Signal:
    """Return steps as the function of one Gaussian that their entries are distributed as: bounded, if they are."""
    waves = [s.wave for s in signals if s.wave is not None and s.wave.source is not None]
    if joined.base is not None or len(waves) < len(signals) or all(wave.gaussian for wave in waves):
        return joined
    found = together_distributed(waves, joined.moments, units, run.batch)
    if found is None or found.source is None:
        return joined
    found.source.root = joined.moments if run.remembers else None
    found.source.steps = tuple(waves), found.values.mean(0)
    return replace(joined, wave=found)


def _widest(run: Interpreter, tensor: torch.Tensor) -> Dims | None:
    return None if isinstance(run.value(tensor), Fill) else run.dims(tensor)


def _side_by_side(
    run: Interpreter, pairs: list[tuple[torch.Tensor, Signal]], dim: int, out: torch.Tensor
) -> tuple[list[Moments], Dims]:
    """Return the parts' moments over the positions that the outcome has along other dimensions."""
    flat = all(x.axes is None for _, x in pairs) and out.dim() == 2
    dims = max((run.dims(t) for t, _ in pairs if not isinstance(run.value(t), Fill)), key=len)
    along = {a.role for a in dims[dim] if a.role >= 0}
    if flat or not sizes(dims):
        return [x.moments for _, x in pairs], (*dims[:dim], (Axis(FEATURE, out.shape[dim], 1),), *dims[dim + 1 :])
    if along:
        return _more_positions(run, pairs, dim, dims, out)
    moments, whole = together(run, pairs, out)
    whole = tuple((Axis(FEATURE, out.shape[dim], 1),) if i == dim else d for i, d in enumerate(whole))
    return moments, whole


def _more_positions(
    run: Interpreter, pairs: list[tuple[torch.Tensor, Signal]], dim: int, dims: Dims, out: torch.Tensor
) -> tuple[list[Moments], Dims]:
    """Return the parts over one axis of positions, of the sizes of the outcome's dimensions, all lags alike.

    Where that is the only one, every two places are told apart: a token from the patches that it stands beside.
    """
    others = math.prod(a.size for i, d in enumerate(dims) if i != dim for a in d if a.role >= 0)
    positions = (others, out.shape[dim]) if others > 1 else (out.shape[dim],)
    moments, start = [], 0
    for t, x in pairs:
        field = field_of(x.moments, sizes(run.dims(t))) if not isinstance(run.value(t), Fill) else None
        within, across = field.apart() if field else (apart_here(x.moments),) * 2
        beyond = field.varied if field else 0.0
        share = t.shape[dim] / out.shape[dim]
        whole = white(positions, 1 - share * (1 - within), 1 - share * (1 - across), apart_here(x.moments), beyond)
        here = np.zeros(positions)  # a part has all that it has at places of its own
        here[..., start : start + t.shape[dim]] = 1 / share
        whole = replace(whole, share=here)
        if others == 1:
            size = (t.shape[dim],)
            own = field if field and field.sizes == size else white(size, within, across, apart_here(x.moments), beyond)
            whole = each_pair.told_at(whole, own, start)
        start += t.shape[dim]
        moments.append(replace(x.moments, field=whole))
    new = [tuple(a for a in d if a.role < 0) for d in dims]
    if others > 1:
        first = next(i for i, d in enumerate(dims) if i != dim and any(a.role >= 0 for a in d))
        new[first] = (*new[first], Axis(0, others, math.prod(a.size for a in new[first])))
    new[dim] = (Axis(len(positions) - 1, out.shape[dim], 1),)
    return moments, tuple(new)


def _mixture(
    run: Interpreter,
    out: torch.Tensor,
    signals: list[Signal],
    parts: tuple[list[Moments], list[float]],
    dims: Dims,
    field: Field | None = None,
    of: Moments | None = None,
) -> Signal:
    origin = Beside(tuple(zip(*parts, strict=True))) if run.remembers else None
    m, ancestors = replace(of or mixed(*parts), origin=origin), 0
    m = replace(m, field=field or m.field)
    for signal in signals:
        ancestors |= signal.ancestors
    axes = axes_of(run, dims, out)
    if any(s.base is not None for s in signals):
        return Signal(m, None, m, ancestors, None, "approximate", axes)
    source = gaussian(m, features(out, dims, run.batch.size), run.batch)
    source.root = m if run.remembers else None
    return Signal(m, Wave(source, source.nodes, gaussian=True), None, ancestors, None, "approximate", axes)


def mixed(moments: list[Moments], shares: list[float]) -> Moments:
    """Return the moments of parts that take these shares of all entries."""
    parts = list(zip(shares, moments, strict=True))
    mean, q, d = (sum(share * getattr(m, name) for share, m in parts) for name in ("mean", "q", "d"))
    whole: Spread = CERTAIN
    field, so_far = None, 0.0
    for share, m in parts:
        size = share * float(m.q.mean())
        whole = whole.plus(m.spread.scaled(size / max(float(q.mean()), 1e-300)))
        so_far += size
        if m.field is not None and size > 0:
            field = m.field if field is None else field.mixed(1 - size / so_far, m.field, size / so_far)
    terms = tuple((share * float(m.q.mean()) / max(so_far, 1e-300), m) for share, m in parts if m.q.any())
    field = field and of_mean.summed(terms, replace(field, of_mean=None), whole, CERTAIN)
    return Moments(mean, q, d, whole, field=field)


def of_units(moments: list[Moments], counts: list[int], batch: Batch) -> Moments:
    """Return the moments of parts that are so many units each: what products vary by for their number is their own."""
    shares, blurs = (
        [n / sum(counts) for n in counts],
        [blur_of(m, n, batch) for n, m in zip(counts, moments, strict=True)],
    )
    each = [
        replace(m, field=m.field and m.field.raised(-blur).lengthened(-2 / n))
        for m, n, blur in zip(moments, counts, blurs, strict=True)
    ]
    found = mixed(each, shares)
    if found.field is None:
        return found
    size = max(float(found.q.mean()), 1e-300)
    squares = [(share * float(m.q.mean()) / size) ** 2 for share, m in zip(shares, moments, strict=True)]
    blur, length = (sum(a * x for a, x in zip(squares, of, strict=True)) for of in (blurs, [2 / n for n in counts]))
    return replace(found, field=found.field.raised(blur).lengthened(length))


def assembled(run: Interpreter, call: Call) -> Value:
    """What a tensor holds that signals were written into, part by part: the mean of their moments, by their sizes.

    Positions are taken as independent, as are the units of different parts.
    """
    tensor = call.out
    if entries(tensor) > LARGEST:
        return IN_PARTS
    signals, shares = run.memory.parts(tensor)
    left = round(1 - sum(shares), 9)
    rest = _rest(run, run.memory.before_parts(tensor)) if left > 0 else None
    if left == 1 and rest is not None:
        return rest  # none of it was written
    if rest is not None:
        signals, shares = [*signals, rest], [*shares, left]
    held = [(s, share) for s, share in zip(signals, shares, strict=True) if share > 0]
    if (left > 0 and rest is None) or len({s.base is None for s, _ in held if s.moments.q.any()}) > 1:
        return IN_PARTS
    signals, shares = [s for s, _ in held], [share for _, share in held]
    moments = [replace(s.moments, field=None) for s in signals]
    return _mixture(run, tensor, signals, (moments, shares), run.dims(tensor, Signal(moments[0])))


def _rest(run: Interpreter, before: Value) -> Signal | None:
    match before:
        case Fill(variance=0.0):
            return parameter(run, before)
        case Concrete() | Signal():
            return as_signal(run, before)
        case _:
            return None


def within_zeros(run: Interpreter, call: Call) -> Value:
    """A tensor among zeros: of a padding, or the gradient of what a part was taken of."""
    tensor, out = call.args[0], call.out
    value = spread_out(run, tensor, run.value(tensor))
    if isinstance(value, Draws) and tensor.shape[:1] != out.shape[:1]:
        return _on_samples(run, call)  # of some of the examples, as far as the first size tells
    share = kept(tensor, out)
    if isinstance(value, ParameterGradient):
        return ParameterGradient(value.q * share)
    if isinstance(value, Fill):
        return replace(value, variance=value.variance * share, mean=value.mean * share, mark="approximate")
    x = as_signal(run, value)
    if x is None:
        return run.lost(f"{call.name} of something that is no signal")
    dims = _enlarged(run.dims(tensor), call)
    if dims is None:
        return run.lost(f"{call.name} along the examples")
    m = x.moments
    field = field_of(m, sizes(run.dims(tensor)))
    if field is not None:
        left = min(math.prod(field.sizes) / max(math.prod(sizes(dims)), 1), 1.0)
        within, across = field.apart()
        field = white(sizes(dims), 1 - left * (1 - within), 1 - left * (1 - across), apart_here(m), field.varied * left)
    m = replace(m, mean=m.mean * share, q=m.q * share, d=m.d * share, field=field)
    return _mixture(run, out, [x], ([m], [1.0]), dims)


def kept(tensor: torch.Tensor, out: torch.Tensor) -> float:
    """Return the share of an outcome's entries that are the tensor's; one that is only cut down is all of it."""
    if tensor.dim() < out.dim():
        return tensor.numel() / out.numel()
    return math.prod(min(n / m, 1.0) for n, m in zip(tensor.shape, out.shape, strict=True))


def _enlarged(dims: Dims, call: Call) -> Dims | None:
    """Return the dimensions of the outcome: one more where one place was selected, else larger ones."""
    if len(dims) < call.out.dim():
        at = argument(call, "dim") % call.out.dim()
        return (*dims[:at], (Axis(FEATURE, call.out.shape[at], 1),), *dims[at:])
    new = []
    for dim, before, after in zip(dims, call.args[0].shape, call.out.shape, strict=True):
        if before == after:
            new.append(dim)
        elif EXAMPLE in roles(dim):
            return None
        else:
            new.append((Axis(dim[0].role if len(dim) == 1 else FEATURE, after, 1),))
    return tuple(new)


def chosen(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Some entries along one dimension by known indices: the same moments, of units of their own."""
    value = run.value(call.args[0])
    if not isinstance(value, Signal) or value.moments.q.size == 0:
        return on_draws(run, call) if not isinstance(value, Fill) else replace(value, mark="approximate")
    dims = run.dims(call.args[0], value)
    if value.base is not None or len(dims) != call.out.dim():
        return _gathered(run, call)
    new, at = [], []
    for i, (dim, before, after) in enumerate(zip(dims, call.args[0].shape, call.out.shape, strict=True)):
        if before != after:
            at.append(i)
            dim = (Axis(dim[0].role if len(dim) == 1 else FEATURE, after, 1),) if after > 1 else ()
        new.append(dim)
    if any(EXAMPLE in roles(dims[i]) for i in at):
        return on_draws(run, call)
    left = tuple(new)
    m = replace(value.moments, field=_resized(value.moments, sizes(dims), sizes(left)))
    return _mixture(run, call.out, [value], ([m], [1.0]), left)


def _resized(m: Moments, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    field = field_of(m, before)
    if field is None or before == after:
        return field
    if len(after) != len(before):
        return None
    within, across = field.apart()
    return white(after, within, across, apart_here(m), field.varied)


def _gathered(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    return on_draws(run, call)


RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.cat, aten.stack), cat),
    **dict.fromkeys((aten.index_select, aten.index, aten.gather), chosen),
}
