"""Losses of many entries, each by itself: on samples of a part of the tensors where the whole is too large for them.

What an entry's loss and gradient are depends on that entry alone, so a crop, all examples at neighbouring positions,
stands for the whole: maps are taken as alike everywhere, positions further apart than the crop reaches as those at its
ends. Approximate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import field as fields
from steadygrad.prediction.axes import EXAMPLE, FEATURE, SPREAD_OUT, Dimension, laid
from steadygrad.prediction.data_field import of_data
from steadygrad.prediction.draws import BUDGET, FEWEST_DRAWS, draws_of, draws_within, leading, shortened
from steadygrad.prediction.entrywise import EACH, GRADIENTS, LOSSES, MEAN, REDUCTIONS, SUM, is_entrywise
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Call, Interpreter, sampled
from steadygrad.prediction.lags import lag_weights
from steadygrad.prediction.meeting import MET_NOTHING
from steadygrad.prediction.outside import inside
from steadygrad.prediction.sampling import moments_of
from steadygrad.prediction.values import Array, Cropped, Draws, Fill, Signal, Value

from .fills import argument

aten = torch.ops.aten
LEAST = 4  # places along an axis, so far as features can be left out instead
LOOKED_AT = 16  # samples whose positions are compared


def on_crops(run: Interpreter, call: Call) -> Value | tuple[Value, ...] | None:
    """Run an operator that takes entry by entry on crops of its arguments; None where none are had of them."""
    whole = _like(run, call)
    if whole is None or not is_entrywise(call.operator):
        return None
    with inside(run.fake):
        cropped = [_crop(t, whole.shape, whole.part) for t in call.tensors]
    if any(t is None for t in cropped):
        return None
    views = {id(t): v for t, v in zip(call.tensors, cropped, strict=True)}
    args, kwargs = _with(list(call.args), views), {key: views.get(id(x), x) for key, x in call.kwargs.items()}
    drawn = _drawn(run, call, views)
    if not drawn:
        return None
    outs = sampled(replace(call, args=tuple(args), kwargs=kwargs), run, drawn)
    like = leading(list(drawn.values()))
    if isinstance(outs[0], list | tuple):
        return tuple(
            _outcome(call, whole, replace(like, values=torch.stack([o[i] for o in outs]))) for i in range(len(outs[0]))
        )
    return _outcome(call, whole, replace(like, values=torch.stack(outs)))


def _with(args: Any, views: dict[int, Any]) -> list[Any]:
    return [_with(x, views) if isinstance(x, list | tuple) else views.get(id(x), x) for x in args]


def _outcome(call: Call, whole: Cropped, draws: Draws) -> Value:
    """Return an outcome of a part as that of the whole."""
    packet, how = call.operator.overloadpacket, argument(call, "reduction", EACH)
    part = replace(whole, draws=draws)
    if packet in LOSSES and how != EACH:
        return replace(draws, values=draws.values / (whole.share if how == SUM else 1.0))
    if packet in GRADIENTS and how == MEAN:
        return replace(part, draws=replace(draws, values=draws.values * part.share))
    return part


def reduced(run: Interpreter, value: Cropped, call: Call, gone: list[int]) -> Value:
    """Return the sums, or the means, over some dimensions, among which are all that are cropped."""
    taken = [len(range(*along.indices(n))) for along, n in zip(value.part, value.shape, strict=True)]
    left_out = [i for i, n in enumerate(value.shape) if taken[i] < n]
    if run.backward or call.operator.overloadpacket not in REDUCTIONS or not set(left_out) <= set(gone):
        return run.lost(f"{call.name} of a part")
    mean = value.draws.values.double().mean([i + 1 for i in gone]).float()
    count = math.prod(value.shape[i] for i in gone) if call.operator.overloadpacket is aten.sum else 1
    return replace(value.draws, values=(mean * count).reshape(-1, *call.out.shape))


def _like(run: Interpreter, call: Call) -> Cropped | None:
    """Return of what part samples are had, and of which whole: that of an argument, or one that the largest has."""
    known = [(t, run.value(t)) for t in call.tensors]
    found = next((v for _, v in known if isinstance(v, Cropped)), None)
    if found is not None:
        return found
    signals = [(t, v) for t, v in known if isinstance(v, Signal)]
    if not signals:
        return None
    tensor, value = max(signals, key=lambda p: p[0].numel())
    dims = run.dims(tensor, value)
    part = _part(run, tensor, dims)
    if part is None or any(t.numel() > tensor.numel() for t, _ in known):
        return None
    none = Draws(torch.empty(0), np.zeros(0), value.moments.spread, torch.empty(0))
    return Cropped(none, tuple(tensor.shape), part, dims, laid(dims, _contiguous(tensor)))


def _contiguous(tensor: torch.Tensor) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta").stride()


def _part(run: Interpreter, tensor: torch.Tensor, dims: tuple[Dimension, ...]) -> tuple[slice, ...] | None:
    """Return what to take along each dimension so that the fewest draws fit: all examples, the middle of positions."""
    roles = [dim[0].role if len(dim) == 1 else None if dim else FEATURE for dim in dims]
    examples = run.batch.size
    first = tensor.shape[:1] == (examples,) and (roles[0] == EXAMPLE or examples == 1)
    if not first or any(r is None or r == SPREAD_OUT for r in roles):
        return None
    allowed = BUDGET // FEWEST_DRAWS // examples
    places = [i for i, role in enumerate(roles) if role is not None and role >= 0]
    features = math.prod(n for i, n in enumerate(tensor.shape) if roles[i] == FEATURE)
    least = math.prod(min(LEAST, tensor.shape[i]) for i in places)
    if allowed < least:
        return None
    kept = min(features, allowed // least)
    side = int((allowed / kept) ** (1 / max(len(places), 1)) + 1e-9)
    part = []
    for i, n in enumerate(tensor.shape):
        if i in places:
            start = max(n - side, 0) // 2
            part.append(slice(start, start + min(side, n)))
        elif roles[i] == FEATURE:
            part.append(slice(0, min(n, kept)))
            kept //= min(n, kept)
        else:
            part.append(slice(0, n))
    return tuple(part)


def _crop(tensor: torch.Tensor, shape: tuple[int, ...], part: tuple[slice, ...]) -> torch.Tensor | None:
    """Return the part of a tensor that meets that of the whole; None where it meets none."""
    if tensor.dim() > len(shape):
        return None
    taken = []
    for n, size, along in zip(
        tensor.shape, shape[len(shape) - tensor.dim() :], part[len(shape) - tensor.dim() :], strict=True
    ):
        if n not in (1, size):
            return None
        taken.append(along if n == size else slice(0, 1))
    return tensor[tuple(taken)] if taken else tensor


def _drawn(run: Interpreter, call: Call, views: dict[int, Any]) -> dict[int, Draws] | None:
    """Return samples of the parts by the id of their views; None where one has none."""
    entries = max(v.numel() for v in views.values())
    known = [(t, run.value(t)) for t in call.tensors]
    held = [v.draws if isinstance(v, Cropped) else v for _, v in known]
    count = min([draws_within(BUDGET, entries), *(len(v.values) for v in held if isinstance(v, Draws))])
    found: dict[int, Draws] = {}
    for (tensor, value), draws in zip(known, held, strict=True):
        view = views[id(tensor)]
        match draws:
            case Draws() if count >= FEWEST_DRAWS:
                found[id(view)] = shortened(draws, count)
            case Signal():
                part = run.value(view)
                if not isinstance(part, Signal):
                    return None
                seeds, dims = run.drawn.seeds, run.dims(view, part)
                made = draws_of(part, view, dims, count=count, seeds=seeds, batch=run.batch, noises=run.noises)
                if made is None:
                    return None
                found[id(view)] = made
            case Fill() if value.variance > 0:  # type: ignore[union-attr]
                return None
            case _:
                continue
    return found


def settled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The moments of a whole of which a part was sampled."""
    value = call.args[0]
    finite = bool(value.draws.values.isfinite().all())
    return whole(run, value) if finite else run.lost("samples that are not finite")


def whole(run: Interpreter, value: Cropped) -> Signal:
    """Return the signal of which a part was sampled: what independent entries make by chance is that of them all."""
    m = moments_of(value.draws, run.batch, run.noises)
    share = value.share
    here = value.draws.values[0].numel() / run.batch.size
    met = max(m.alignment - 1 / here, 0.0) + share / here
    field = _field(value)
    excess = m.excess if field is not None else m.excess * share
    m = replace(m, field=field, excess=excess, alignment=met, crossed=met, meeting=MET_NOTHING.raised(met, met))
    axes = value.axes if field is not None else None
    return Signal(m, base=m if run.backward else None, ancestors=value.draws.ancestors, mark="approximate", axes=axes)


def _far(lags: Array) -> float:
    """Return the mean over pairs of places that are at least half of the part apart, along any axis."""
    far = np.any([at >= (n + 1) // 2 for at, n in zip(np.indices(lags.shape), lags.shape, strict=True)], axis=0)
    weights = lag_weights(lags.shape) * far
    return float((weights * lags).sum() / weights.sum()) if weights.any() else float(lags.flat[-1])


def _field(value: Cropped) -> Field | None:
    """Return how positions differ in the part, the mean over some samples, carried on to the whole's lags."""
    places = {dim[0].role: i for i, dim in enumerate(value.dims) if dim and dim[0].role >= 0}
    if not places:
        return None
    order = [0, *(places[role] for role in sorted(places))]
    order += [i for i in range(len(value.dims)) if i not in order]
    taken = [sample.permute(order) for sample in value.draws.values[:LOOKED_AT] if sample.any()]
    each = [of_data(x.reshape(*x.shape[: len(places) + 1], -1).double().numpy()) for x in taken]
    sizes = tuple(value.shape[places[role]] for role in sorted(places))
    if not each:
        return fields.white(sizes, 1.0, 1.0, 1.0)

    def mean(name: str) -> Array:
        found = np.mean([getattr(f, name) for f in each], axis=0)
        beyond = [(0, n - k) for n, k in zip(sizes, found.shape, strict=True)]
        return np.pad(found, beyond, constant_values=_far(found))

    return Field(np.ones(sizes), mean("within"), mean("across"), mean("varying"))
