"""Which dimensions of a tensor one weight is shared over: positions, and how the entries there differ.

A weight that is met at several places makes them positions: the steps of a sequence before a linear layer, the pixels
before a convolution, the channels where a layer mixes pixels. Features that become positions are independent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch

from steadygrad.prediction import each_pair, of_mean
from steadygrad.prediction import field as fields
from steadygrad.prediction.axes import (
    EXAMPLE,
    FEATURE,
    SPREAD_OUT,
    Axes,
    Axis,
    Dimension,
    default,
    laid,
    renamed,
    roles,
    sizes,
)
from steadygrad.prediction.data_field import of_data
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.kinship import Data, Filled
from steadygrad.prediction.regridded import regridded
from steadygrad.prediction.sampling import moments_of, moments_of_data
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Concrete, Cropped, Draws, Fill, Moments, Scores, Signal, Value

from .crops import whole

Dims: TypeAlias = tuple[Dimension, ...]
LOOKED_AT = 16  # samples
Names: TypeAlias = dict[int | tuple[int, Axis], int]


def as_signal(run: Interpreter, value: Value) -> Signal | None:
    """Return data or samples as a signal; None where it is neither, nor one already."""
    match value:
        case Signal():
            return value
        case Concrete(tensor=data) if _is_batch(value, run):
            moments = replace(moments_of_data(data, run.batch), origin=Data(data))
            return Signal(moments, mark="approximate" if value.drawn else "exact")
        case Scores(how=how, weights=True):
            return Signal(how.weights(run.batch), ancestors=value.ancestors, mark="approximate")
        case Draws(values=samples) if bool(samples.isfinite().all()):
            moments = moments_of(value, run.batch, run.noises)
            base = moments if run.backward else None
            return Signal(moments, base=base, ancestors=value.ancestors, mark="approximate")
        case Cropped(draws=Draws(values=samples)) if bool(samples.isfinite().all()):
            return whole(run, value)
        case _:
            return None


def parameter(run: Interpreter, value: Fill) -> Signal:
    """Return a parameter as a signal that is the same for every example."""
    ones = np.ones(run.batch.followed)
    second = value.mean**2 + value.variance
    moments = Moments(ones * value.mean, ones * second, np.zeros((len(ones), len(ones))), CERTAIN)
    return Signal(moments, ancestors=1 << value.source, linear=value.source, mark=value.mark)


def of_entries(run: Interpreter, value: Fill, count: int) -> Signal:
    """Return a parameter of so many entries as a signal, the same one wherever it is met.

    Over draws their mean square varies by (E[w⁴]/E[w²]² - 1)/N.
    """
    known, second = parameter(run, value), value.mean**2 + value.variance
    if not value.variance > 0:
        return known
    found = run.filled.get((value.source, count))
    if found is None:
        fourth = value.kurtosis * value.variance**2 + 6 * value.mean**2 * value.variance + value.mean**4
        noise = run.noises.fresh((fourth / second**2 - 1) / count)
        found = replace(known.moments, spread=noise, origin=Filled(value.source, value.kurtosis - 3))
        run.filled[value.source, count] = found
    return replace(known, moments=found)


def _is_batch(value: Concrete, run: Interpreter) -> bool:
    data = value.tensor
    examples = data.dim() > 0 and len(data) == run.batch.size and not value.fixed
    return examples and data.is_floating_point() and bool(data.isfinite().all())


def laid_out(run: Interpreter, tensor: torch.Tensor, shared: tuple[int, ...]) -> tuple[Signal, Dims] | None:
    """Return a tensor as a signal whose positions are what these dimensions run over, and all its dimensions."""
    value = run.value(tensor)
    dims = run.dims(tensor, value)
    if isinstance(value, Concrete):
        return _data(run, value, dims, shared)
    x = as_signal(run, _examples_first(value, dims) if isinstance(value, Draws) else value)
    if x is None or any(SPREAD_OUT in roles(d) for d in dims):
        return None
    moments, names = _met(x.moments, dims, {i: dims[i] for i in shared})
    if isinstance(value, Signal) and x.moments.field is None and moments.field is not None:
        moments = replace(moments, field=of_mean.drawn(moments, run.batch, run.noises))
    if isinstance(value, Draws):
        moments = replace(moments, field=_of_draws(value, tensor, dims, shared, moments.field))
    new = tuple(_named(i, dim, names) if i in shared else _unshared(dim) for i, dim in enumerate(dims))
    return replace(x, moments=moments, axes=None), new


def _examples_first(value: Draws, dims: Dims) -> Draws:
    """Samples of a view whose examples come later, as of a gradient that is transposed for that of a weight."""
    place = next((i for i, dim in enumerate(dims) if roles(dim) == {EXAMPLE}), 0)
    return replace(value, values=value.values.movedim(place + 1, 1)) if place else value


def _of_draws(
    value: Draws, tensor: torch.Tensor, dims: Dims, shared: tuple[int, ...], met: Field | None
) -> Field | None:
    """Return how positions differ in samples, the mean over some: a loss on a mean gives all of them one gradient."""
    samples = value.values[:LOOKED_AT]
    if met is None or samples[0].shape != tensor.shape:
        return met
    each = [of_data(_arranged(sample.double(), dims, shared).numpy()) for sample in samples if sample.any()]
    if not each or each[0].sizes != met.sizes:
        return met
    share, within, across, beyond = (
        np.mean([getattr(f, name) for f in each], axis=0) for name in ("share", "within", "across", "varying")
    )
    return Field(share, within, across, beyond)


def on_a_grid(x: Signal, dims: Dims) -> tuple[Signal, Dims]:
    """Return a signal with one axis of positions for each dimension that has any, in the order of the dimensions.

    Where a weight was shared over several dimensions at once they are one axis of positions; told apart, all lags of
    them are alike.
    """
    m, whole = x.moments, sizes(dims)
    held = [[a for a in dim if a.role >= 0] for dim in dims]
    if [a.role for axes in held for a in axes] == list(range(len(whole))) and max(map(len, held)) < 2:
        return replace(x, moments=replace(m, field=field_of(m, whole))), dims
    numbers = iter(range(len(dims)))
    new = tuple(_on_one_axis(dim, axes, next(numbers)) if axes else dim for dim, axes in zip(dims, held, strict=True))
    field = m.field and regridded(m.field, sizes(new))
    if field is None:
        within, across = m.field.apart() if m.field else (spread_alone(m),) * 2
        field = fields.white(sizes(new), within, across, apart_here(m))
    return replace(x, moments=replace(m, field=field)), new


def told_apart(x: Signal, dims: Dims) -> tuple[Signal, Dims]:
    """Return a signal whose positions that a view made two dimensions of are two axes."""
    return on_a_grid(x, dims) if _share(dims) else (x, dims)


def _share(dims: Dims) -> bool:
    """Whether dimensions have parts of one axis of positions."""
    held = [a.role for dim in dims for a in dim if a.role >= 0]
    return len(set(held)) < len(held)


def _on_one_axis(dim: Dimension, places: list[Axis], role: int) -> Dimension:
    merged = Axis(role, math.prod(a.size for a in places), places[0].stride)
    return tuple(merged if a is places[0] else a for a in dim if a is places[0] or a not in places)


def _unshared(dim: Dimension) -> Dimension:
    """Positions over which a weight is not shared count as features."""
    return tuple(a._replace(role=FEATURE) if a.role >= 0 else a for a in dim)


def _named(i: int, dim: Dimension, names: Names) -> Dimension:
    return tuple(a if a.role == EXAMPLE else a._replace(role=names[_key(i, a)]) for a in dim)


def _key(i: int, axis: Axis) -> int | tuple[int, Axis]:
    return axis.role if axis.role >= 0 else (i, axis)


def _met(m: Moments, whole: Dims, shared: dict[int, Dimension]) -> tuple[Moments, Names]:
    """Return the moments over positions that are those of the shared dimensions, and their numbers."""
    old = sorted({a.role for dim in shared.values() for a in dim if a.role >= 0})
    extra = [(i, a) for i, dim in shared.items() for a in dim if a.role in (FEATURE, SPREAD_OUT)]
    names: Names = {role: k for k, role in enumerate(old)}
    names.update({place: len(old) + k for k, place in enumerate(extra)})
    field = field_of(m, sizes(whole))
    new = math.prod(a.size for _, a in extra if a.role == FEATURE)
    left = _left(field, tuple(old), new)
    varied = min((field.varied if field else _beyond(m)) * left, 1.0)
    field = field.kept(tuple(old)) if field else None
    alone, here = spread_alone(m), apart_here(m)
    for _, a in extra:
        far = (0.0, here) if a.role == SPREAD_OUT else (alone, alone)
        field = (field or nowhere(here)).widened((a.size,), *far)
    if field is not None and (extra or not field.varied):
        field = replace(field, beyond=varied * (1 - field.within) ** 2)
    if field is not None and m.field is None and new > 1:
        field = _of_own_lengths(field, m, whole, set(shared))
        m = replace(m, unit_variance=m.unit_variance / new, unit_apart=m.unit_apart / new)
    return replace(m, field=field, excess=m.excess * left), names


def _of_own_lengths(field: Field, m: Moments, whole: Dims, shared: set[int]) -> Field:
    """Return the field of places whose lengths vary as those of so many features do, each on its own.

    Of an example, and of the mean over a batch, as far as its examples vary alike. As places are independent each pair
    of them has a product of its own, so what products vary by lies between pairs, as in data.
    """
    units = _count(FEATURE, [dim for i, dim in enumerate(whole) if i not in shared])
    own = m.unit_variance + m.unit_apart * (1 - 1 / _count(EXAMPLE, whole))
    alone = (1 - field.within) ** 2 / units
    return replace(field, given=1.0, lengths=own * alone, together=m.unit_variance * alone)


def _count(role: int, dims: Iterable[Dimension]) -> int:
    """Return how many entries of this role dimensions run over."""
    return math.prod(a.size for dim in dims for a in dim if a.role == role)


def _left(field: Field | None, kept: tuple[int, ...], new: int) -> float:
    """Return by how much products of examples vary where these positions are left, and `new` features are positions.

    Positions that are no more are summed over, features that become positions, independent ones, no longer are.
    """
    gone = tuple(i for i in range(len(field.sizes)) if i not in kept) if field else ()
    return new * (_ratio(float(field.left_over(gone, field.varying).flat[0]), field.varied) if field and gone else 1.0)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 1.0


def _beyond(m: Moments) -> float:
    """Return by how much products of two examples vary, the mean over pairs; an estimate may be less than nothing."""
    excess, r = np.asarray(m.excess), len(m.q)
    return max(float(excess.sum()) / max(r * (r - 1), 1) if excess.ndim else float(excess), 0.0)


def field_of(m: Moments, positions: tuple[int, ...]) -> Field | None:
    """Return how positions differ; where it is not known they are independent."""
    if not positions:
        return None
    field = m.field and regridded(m.field, positions)
    if field is not None:
        return field
    alone = spread_alone(m)
    return fields.white(positions, alone, alone, apart_here(m), min(_beyond(m) * math.prod(positions), 1.0))


def nowhere(here: float, beyond: float = 0.0) -> Field:
    """Return the field of one position, at which two examples differ, and their products vary, by this much."""
    return Field(np.ones(()), np.zeros(()), np.full((), here), beyond)


def spread_alone(m: Moments) -> float:
    """Return by how much independent entries differ, relative to their second moment: what is not their mean."""
    return 1 - float((m.mean**2).mean()) / max(float(m.q.mean()), 1e-300)


def apart_here(m: Moments) -> float:
    """Return the mean difference of distinct examples, relative to the second moment."""
    r = len(m.q)
    return float(m.d.sum()) / max(r * (r - 1), 1) / max(float(m.q.mean()), 1e-300)


def _data(run: Interpreter, value: Concrete, dims: Dims, shared: tuple[int, ...]) -> tuple[Signal, Dims] | None:
    """Return the batch, or a function of it, as a signal over positions."""
    data, examples = value.tensor, run.batch.size
    pieces = _pieces(dims, shared)
    if not value.leads(examples) or not data.is_floating_point() or not bool(data.isfinite().all()):
        return None
    if math.prod(a.size for a, _ in pieces if a.role == EXAMPLE) != examples:
        return None
    positions = [a.size for a, met in pieces if met and a.role == FEATURE]
    values = _arranged(data.double(), dims, shared)
    moments = replace(moments_of_data(values, run.batch), origin=Data(values) if run.remembers else None)
    if positions:
        field = each_pair.of_data(of_data(values.double().numpy()), values.double().numpy())
        moments = replace(moments, field=field, excess=run.batch.off_diagonal(field.varied))
    numbers = iter(range(len(positions)))
    new = []
    for i, dim in enumerate(dims):
        named = [a._replace(role=next(numbers)) if i in shared and a.role == FEATURE else a for a in reversed(dim)]
        new.append(tuple(reversed(named)))
    return Signal(moments, mark="approximate" if value.drawn else "exact"), tuple(new)


def _pieces(dims: Dims, shared: tuple[int, ...]) -> list[tuple[Axis, bool]]:
    """Return the axes of all dimensions, slowest first, and whether a weight is shared over them."""
    return [(a, i in shared) for i, dim in enumerate(dims) for a in reversed(dim)]


def _arranged(data: torch.Tensor, dims: Dims, shared: tuple[int, ...]) -> torch.Tensor:
    """Return data as [examples, *positions, features]."""
    pieces = _pieces(dims, shared)
    order = sorted(range(len(pieces)), key=lambda i: (pieces[i][0].role != EXAMPLE, not pieces[i][1], i))
    examples = math.prod(a.size for a, _ in pieces if a.role == EXAMPLE)
    places = [a.size for a, met in pieces if met and a.role == FEATURE]
    return data.reshape([a.size for a, _ in pieces]).permute(order).reshape(examples, *places, -1)


def positions(axes: Axes | None) -> int:
    """Return how many positions a storage has."""
    return math.prod(axis.size for axis in axes if axis.role >= 0) if axes else 1


def axes_of(run: Interpreter, dims: Dims, out: torch.Tensor) -> Axes | None:
    """Return the axes of an outcome whose dimensions are these; None where the plain reading is right."""
    axes = laid(dims, out.stride())
    return None if set(axes) == set(default(out.numel(), run.batch.size)) else axes


def features(out: torch.Tensor, dims: Dims, examples: int) -> int:
    """Return how many features a tensor has: its entries at one position of one example."""
    return max(out.numel() // (examples * math.prod(sizes(dims))), 1)


def alike(rule: Rule) -> Rule:
    """Return the rule with axes told to its outcome, whose dimensions are those of its arguments."""

    @functools.wraps(rule)
    def told(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        result = rule(run, call)
        if isinstance(result, Signal) and result.axes is None:
            return placed(run, call.tensors, result, call.out)
        if isinstance(result, tuple) and isinstance(result[0], Signal):
            return placed(run, call.tensors, result[0], call.out[0]), *result[1:]
        return result

    return told


def placed(run: Interpreter, tensors: list[torch.Tensor], x: Signal, out: torch.Tensor) -> Signal:
    """Return the signal with the axes of an outcome that has the dimensions of one of its arguments."""
    known = [(t, v) for t in tensors if isinstance(v := run.value(t), Signal)]
    if all(v.axes is None and t.stride() == out.stride() for t, v in known):
        return x
    found = [run.dims(tensor, value) for tensor, value in known]
    first, told = (tuple(numbered(_merged(found, out.dim(), told=told))) for told in (False, True))
    field = x.moments.field
    fits = field is not None and sizes(told) == field.sizes != sizes(first)
    return replace(x, axes=laid(told if fits else first, out.stride()))


def _merged(found: list[Dims], count: int, *, told: bool) -> list[Dimension]:
    """Return what each dimension is for the first tensor that has it, or for the one that tells more of it."""
    dims: list[Dimension] = [()] * count
    for known in found:
        for i in range(1, len(known) + 1):
            less = told and _is_told_less(dims[-i], known[-i])
            if not dims[-i] or roles(dims[-i]) == {SPREAD_OUT} or less:
                dims[-i] = known[-i]
    return dims


def _is_told_less(dim: Dimension, other: Dimension) -> bool:
    """Whether what is features here stands at positions there, as a gradient's entries do that nothing is told of."""
    return roles(dim) == {FEATURE} and any(axis.role >= 0 for axis in other)


def numbered(dims: list[Dimension]) -> list[Dimension]:
    """Number the positions that an entry was spread out over."""
    count = len(sizes(tuple(dims)))
    new = []
    for dim in dims:
        if roles(dim) == {SPREAD_OUT}:
            dim, count = (dim[0]._replace(role=count),), count + 1
        new.append(dim)
    return new


def spread_out(run: Interpreter, tensor: torch.Tensor, value: Value) -> Value:
    """Return a signal that stands at all places of some dimensions with a field that says so."""
    if not isinstance(value, Signal) or 0 not in tensor.stride():
        return value
    dims = run.dims(tensor, value)
    extra = tuple(dim[0].size for dim in dims if roles(dim) == {SPREAD_OUT})
    if not extra:
        return value
    m = value.moments
    start = field_of(m, sizes(dims)) or nowhere(apart_here(m), _beyond(m))
    m = replace(m, field=start.widened(extra, 0.0, apart_here(m)))
    return replace(value, moments=m, wave=None, base=m if value.base is not None else None)


def together(
    run: Interpreter, terms: list[tuple[torch.Tensor, Signal]], out: torch.Tensor
) -> tuple[list[Moments], Dims]:
    """Return the moments of terms over the same positions, those of any of them, and the dimensions of the outcome.

    A parameter among them is the same for every example, and independent from position to position where it has
    entries for each.
    """
    if out.dim() <= 2 and all(x.axes is None for _, x in terms):
        return [x.moments for _, x in terms], ()
    found = [None if isinstance(run.value(t), Fill) else _broadcast(run.dims(t, x), out) for t, x in terms]
    shared = [i for i in range(out.dim()) if any(a.role >= 0 for dims in found if dims for a in dims[i])]
    moments, found = _on_one_grid([x for _, x in terms], found, shared)
    whole: Dims = next((d for d in found if d), ())
    for k, dims in enumerate(found):
        if dims:
            moments[k], whole = _ordered(moments[k], dims, shared)
    positions = sizes(whole)
    for k, (tensor, _) in enumerate(terms):
        if found[k] is None and positions:
            moments[k] = replace(moments[k], field=_of_parameter(moments[k], tensor, whole))
    return moments, whole


def _on_one_grid(
    terms: list[Signal], found: list[Dims | None], shared: list[int]
) -> tuple[list[Moments], list[Dims | None]]:
    """Return the moments of terms, and their dimensions with the same axes of positions in each.

    Features that stand where another term has a grid of positions, as pixels that are mixed do, are one too.
    """
    held = [dims for dims in found if dims]
    grids = {i: max((_sizes(dims[i]) for dims in held if any(a.role >= 0 for a in dims[i])), key=len) for i in shared}
    split = [dims and tuple(_split(d, grids[i]) if i in grids else d for i, d in enumerate(dims)) for dims in found]
    same = all(_sizes(dims[i]) in ((), grids[i]) for dims in split if dims for i in shared)
    if same and not any(_share(dims) for dims in held):
        return [x.moments for x in terms], split
    merged = [(x, None) if dims is None else on_a_grid(x, dims) for x, dims in zip(terms, found, strict=True)]
    return [x.moments for x, _ in merged], [dims for _, dims in merged]


def _sizes(dim: Dimension) -> tuple[int, ...]:
    return tuple(a.size for a in dim if a.role != SPREAD_OUT)


def _split(dim: Dimension, grid: tuple[int, ...]) -> Dimension:
    """Return axes of features as those of these sizes, fastest first."""
    if roles(dim) != {FEATURE} or math.prod(_sizes(dim)) != math.prod(grid):
        return dim
    return tuple(Axis(FEATURE, n, math.prod(grid[:i])) for i, n in enumerate(grid))


def _broadcast(dims: Dims, out: torch.Tensor) -> Dims:
    dims = ((),) * (out.dim() - len(dims)) + dims
    return tuple(dim if dim or n == 1 else (Axis(SPREAD_OUT, n, 1),) for dim, n in zip(dims, out.shape, strict=True))


def _ordered(m: Moments, dims: Dims, shared: list[int]) -> tuple[Moments, Dims]:
    """Return the moments with the positions numbered in the order of the dimensions."""
    m, names = _met(m, dims, {i: dims[i] for i in shared})
    new = tuple(_named(i, dim, names) if i in shared else dim for i, dim in enumerate(dims))
    order = tuple(a.role for dim in new for a in dim if a.role >= 0)
    if m.field is None or order == tuple(range(len(order))):
        return m, new
    return replace(m, field=m.field.transposed(order)), renamed(new, {role: k for k, role in enumerate(order)})


def _of_parameter(m: Moments, tensor: torch.Tensor, whole: Dims) -> Field:
    """Return the field of a parameter: alike at all positions that share an entry, else independent."""
    varied = {a.role for dim, n in zip(reversed(whole), reversed(tensor.shape), strict=False) if n > 1 for a in dim}
    positions = sizes(whole)
    gap = np.zeros(positions)
    for role in varied - {EXAMPLE, FEATURE}:
        gap[(slice(None),) * role + (slice(1, None),)] = spread_alone(m)
    return Field(np.ones(positions), gap, gap)
