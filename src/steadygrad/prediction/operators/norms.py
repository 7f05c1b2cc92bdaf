"""Norms: what divides by its own second moment. Approximate where a layer is narrow or a batch small.

Behind a norm the second moment is what the norm says, whatever came in, so nothing of the spread over draws goes on
forward; backward, the gradient is divided by the realised deviation and so carries that spread with the other sign.
The backward pass takes the mean, and the part along the output, out of the gradient (Ioffe and Szegedy 2015; Ba, Kiros
and Hinton 2016). Scale and shift are followed where one number fills them, as at initialization.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import balance, each_pair, mean_of_all, unit_parts
from steadygrad.prediction.axes import EXAMPLE, roles, sizes
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.linear_map import correlation_gap
from steadygrad.prediction.mean_of_all import Fixed
from steadygrad.prediction.propagation import forward, scaled
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import (
    Array,
    Fill,
    Moments,
    Signal,
    Statistic,
    Value,
)

from . import place_lengths
from .levels import own_share
from .likeness import like_its_input
from .normalized_functions import Normalized, in_common, met_again, normalized
from .norms_of_parts import equalized, in_groups, sized
from .own_deviations import ALIKE, divided, lopsidedness
from .positions import Dims, apart_here, as_signal, axes_of, features, field_of, laid_out, placed
from .running_statistics import running_backward, with_running_statistics
from .scale_and_shift import scale_and_shift
from .taken_out import removed_of, without

aten = torch.ops.aten
LEAST = 0.1  # of 1/(E[s²] E[1/s²]): where fewer than about two directions vary a unit's variance has no inverse mean


def _affine(run: Interpreter, weight: torch.Tensor | None, bias: torch.Tensor | None) -> tuple[float, float] | None:
    """Return scale and shift where one number fills each; None where they differ from unit to unit."""
    numbers = []
    for tensor, absent in ((weight, 1.0), (bias, 0.0)):
        value = run.value(tensor) if tensor is not None else Fill(absent, 0.0, -1)
        if not isinstance(value, Fill) or value.variance > 0:
            return None
        numbers.append(value.mean)
    return numbers[0], numbers[1]


def _normalized(
    run: Interpreter,
    x: Signal,
    std: Array,
    d: Array,
    affine: tuple[float, float],
    units: int,
    field: Field | None,
    sphere: float,
    lopsided: float = 0.0,
    common: float = 0.0,
    fixed: Fixed | None = None,
) -> tuple[Signal, Normalized | None]:
    """Return a Gaussian source of this deviation for each example, and these differences, under scale and shift.

    What a norm takes together lies on a sphere of so many dimensions, and its sums over places are `fixed`. Of a
    function of a Gaussian `common` is the share that goes with a unit's own mean; the function that is left stands
    beside the signal.
    """
    r, (scale, shift) = run.batch.followed, affine
    std = np.broadcast_to(std, (r,)) * abs(scale)
    gap = correlation_gap(d * scale * scale, std)
    if field is not None:
        field = replace(field, in_all=fixed.in_all if fixed else None)
        field = replace(field.scaled(scale**2 / max(scale**2 + shift**2, 1e-300)), parted=None)
    source = Source(
        np.full(r, shift),
        std,
        gap,
        units,
        CERTAIN,
        CERTAIN,
        0.0,
        settled=2,
        field=field,
        sphere=sphere,
        lopsided=lopsided,
        fixed=fixed,
    )
    wave = Wave(source, source.nodes, gaussian=True)
    moments = forward(wave, run.batch, run.noises)
    plain = shift == 0 and scale > 0  # the function that is left would be turned over, or moved
    found = normalized(x.wave, wave, moments, units, common, run.batch) if plain else None
    wave, function = found or (wave, None)
    return Signal(moments, wave, ancestors=x.ancestors, mark="approximate"), function


def _damped(affine: tuple[float, float], variance: float, eps: float) -> tuple[float, float]:
    """Return scale and shift, the scale less where a variance is small beside what is added to it."""
    return affine[0] * (variance / (variance + eps)) ** 0.5, affine[1]


def _relative(m: Moments, dims: Dims, variance: float) -> Field | None:
    """Return how positions differ relative to a variance, that of each position the same.

    The product of two places is divided by both deviations, whose product at a lag is not that of their mean.
    """
    field = field_of(m, sizes(dims))
    if field is None:
        return None
    factor, scale = float(m.q.mean()) / max(variance, 1e-300), field.deviations
    products = each_pair.of_equal(field.products, factor)
    field = replace(field, products=None)
    field = field.mapped(lambda gap: np.clip(1 - (1 - np.minimum(gap * factor, 2.0)) / scale, 0.0, 2.0))
    beyond = np.minimum(field.beyond * factor**2, 1.0)
    field = replace(field, share=np.ones(field.sizes), beyond=beyond)
    return field if products is None else each_pair.told(field, products)


def layer_norm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Each example to mean 0 and variance 1 over its features: examples differ as their centred directions do."""
    found, affine = _over_rows(run, call), _affine(run, call.args[2], call.args[3])
    if found is None or affine is None:
        return run.lost(f"{call.name} of something that is no signal, or with scales that differ")
    x, dims = found
    m = x.moments
    variance = np.maximum(m.q - m.mean**2, 1e-300)
    centred = m.d - (m.mean[:, None] - m.mean) ** 2 / 2
    units = features(call.out[0], dims, run.batch.size)
    field = _relative(m, dims, float(variance.mean()))
    gap = correlation_gap(centred, np.sqrt(variance))
    gap = place_lengths.at_equal(gap, m, field, float(variance.mean()), run.batch)
    field = field and field.of_one(units, run.batch.size)
    n = int(np.prod(call.args[1]))
    affine = _damped(affine, float(variance.mean()), call.args[4])
    whole, function = _normalized(run, x, np.ones(1), gap, affine, units, field, n - 1)
    whole = replace(_of_one_length(whole), axes=axes_of(run, dims, call.out[0]))
    if not sizes(dims):
        beside_mean = (1 - 1 / n) / float((1 / variance).mean())
        return _with_statistics(run, (whole, function), beside_mean, call.args[4], m.spread, each=True)
    uneven = field_of(m, sizes(dims))
    least = float(variance.mean()) * place_lengths.inverse(x, uneven, n)
    made, mean, inverse = _with_statistics(run, (whole, function), least, call.args[4], m.spread)
    if uneven is None or whole.moments.field is None or n < 3:
        return made, mean, inverse
    inverse = replace(inverse, in_common=place_lengths.in_common(uneven, whole.moments.field, n))
    return made, mean, _by_place(inverse, uneven.share, call.args[4])


def _by_place(whole: Statistic, share: Array, eps: float) -> Statistic:
    """Return the inverse variance with that of each position, where positions are not of one size."""
    if not np.ptp(share) > 0:
        return whole
    variance = max(1 / whole.inverse - eps, 0.0)
    return replace(whole, places=1 / (whole.inverse * (variance * share + eps)))


def _of_one_length(x: Signal) -> Signal:
    """Return a signal whose places are all of one length, as a norm of each of them makes them."""
    if x.moments.field is None or x.wave is None or x.wave.source is None:
        return x
    source = x.wave.source
    source.field, source.of_one_length = source.field and replace(source.field, lengths=0.0), True
    return replace(x, moments=replace(x.moments, field=replace(x.moments.field, lengths=0.0)))


def _over_rows(run: Interpreter, call: Call) -> tuple[Signal, Dims] | None:
    """Return what a layer norm is applied to; where it takes in positions, they count as features."""
    tensor = call.args[0]
    return laid_out(run, tensor, tuple(range(tensor.dim() - len(call.args[1]))))


def batch_norm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Each unit to mean 0 and variance 1 over the batch and all positions: only what differs between them goes on."""
    x, affine = run.value(call.args[0]), _affine(run, call.args[1], call.args[2])
    if isinstance(x, Signal) and call.args[0].dim() > 1 and EXAMPLE in roles(run.dims(call.args[0])[1]):
        return instance_norm(run, call, x, affine)
    found = laid_out(run, call.args[0], (0, *range(2, call.args[0].dim())))
    if found is None or affine is None or (run.batch.size < 2 and call.args[5] and not sizes(found[1])):
        return run.lost(f"{call.name} of something that is no signal, with scales that differ, or of one example")
    if not call.args[5]:
        return with_running_statistics(run, call, found, affine)
    (x, dims), batch = found, run.batch
    units = features(call.out[0], dims, batch.size)
    x, apart = equalized(x, units, batch, lambda m: _batch_variance(m, dims, batch))
    m = x.moments
    variance = max(_batch_variance(m, dims, batch), 1e-300)
    square = batch.centred_square(m.d)
    own = np.sqrt(np.maximum(1 + (square - square.mean()) / variance, 0.0))
    field, lopsided, fixed, left = field_of(m, sizes(dims)), 0.0, None, ALIKE
    if field is not None:
        field, share = field.of_one(units, batch.size), variance / max(float(m.q.mean()), 1e-300)
        fixed = mean_of_all.behind_norm(field, share, 0.0, 1.0, batch.size)
        gram = field.gram and field.gram.centred()
        field, lopsided = replace(field.centred(share), gram=gram), lopsidedness(field, share, batch.size)
        left = divided(field, 1, batch.size)
        field, fixed = left.field(field), replace(fixed, in_all=left.pair(fixed.in_all))
    free = 1 / max(field.overlap_of_all(batch.size), 1e-12) if field else 2 / max(1 - _inverse_share(run, x), 1e-12)
    eps = call.args[7]
    affine = (affine[0] * apart.damped(eps) ** 0.5, affine[1]) if apart else _damped(affine, variance, eps)
    common = in_common(x, lambda lags: lags.gap(batch.size), batch)
    apart_now = m.d / variance * left.apart
    whole, function = _normalized(run, x, own, apart_now, affine, units, field, free, lopsided, common, fixed)
    whole = replace(whole, axes=axes_of(run, dims, call.out[0]))
    share = left.share or max(1 - 2 * field.overlap_of_all(batch.size), LEAST) if field else _inverse_share(run, x)
    spread = _spread(run, x, field, units) if field else m.spread
    made, mean, inverse = _with_statistics(run, (whole, function), variance * share, eps, spread)
    return made, mean, apart.inverse(inverse, share, eps) if apart else inverse


def _batch_variance(m: Moments, dims: Dims, batch: Batch) -> float:
    """Return a unit's variance over examples and positions."""
    field = field_of(m, sizes(dims))
    if field is None:
        return batch.pair_mean(m.d)
    within, across = field.mean()
    return float(m.q.mean()) * (within / batch.size + across * (1 - 1 / batch.size))


def group_norm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Each example to mean 0 and variance 1 over the features of a group and all positions."""
    found = laid_out(run, call.args[0], tuple(range(2, call.args[0].dim())))
    affine = _affine(run, call.args[1], call.args[2])
    if found is None or affine is None:
        return run.lost(f"{call.name} of something that is no signal, or with scales that differ")
    return _by_group(run, call, found, affine, (call.args[4] // call.args[6], call.args[7]))


def instance_norm(
    run: Interpreter, call: Call, x: Signal, affine: tuple[float, float] | None
) -> Value | tuple[Value, ...]:
    """Each feature of each example to mean 0 and variance 1 over its positions: a batch norm of a batch of one."""
    dims = run.dims(call.args[0], x)
    if affine is None or not call.args[5]:
        return run.lost(f"{call.name} over positions with running statistics, or with scales that differ")
    return _by_group(run, call, (x, dims), affine, (1, call.args[7]))


def _by_group(
    run: Interpreter, call: Call, found: tuple[Signal, Dims], affine: tuple[float, float], how: tuple[int, float]
) -> tuple[Value, ...]:
    """A group's mean is that of all its features, and what the positions of one have in common over their number."""
    (x, dims), (group, eps), out = found, how, call.out[0]
    units = features(out, dims, run.batch.size)
    grouped = in_groups(x, units, group, run.batch)
    x, apart = equalized(grouped, units, run.batch, lambda m: _group_variance(m, dims, group))
    m, q = x.moments, float(x.moments.q.mean())
    field = field_of(m, sizes(dims))
    within, across = field.mean() if field else (0.0, apart_here(m))
    square = float((m.mean**2).mean())
    variance = _group_variance(m, dims, group)
    shared = square + (q * (1 - across) - square) / group
    here = apart_here(m)
    d = (m.d - (m.mean[:, None] - m.mean) ** 2 / 2) * (1 - ((across - within) / here if here > 0 else 0.0) / group)
    gap = correlation_gap(d * (m.q[:, None] + m.q) / 2 / q, np.sqrt(variance * m.q / q))
    fixed, left = None, ALIKE
    if field is not None:
        far = (variance - q * (1 - field.across) + shared) / variance
        near = far - (field.across - field.within - (across - within) / group) * q / variance
        near.flat[0] = 0.0
        fixed = mean_of_all.behind_norm(field, variance / q, square / q, 1 / group)
        own = field.of_one(units, run.batch.size).centred(variance / q)
        field = replace(own, within=np.clip(near, 0, 2), across=np.clip(far, 0, 2))
        left = divided(field, group)
        field, fixed = left.field(field), replace(fixed, in_all=left.pair(fixed.in_all))
        gap = gap * left.apart
    free = group / max(field.overlap_of_all(1), 1e-12) if field else group - 1
    affine = (affine[0] * apart.damped(eps) ** 0.5, affine[1]) if apart else _damped(affine, variance, eps)
    common = in_common(x, lambda lags: lags.mean()[0], run.batch) if group == 1 else 0.0
    whole, function = _normalized(run, x, np.ones(1), gap, affine, units, field, free, common=common, fixed=fixed)
    whole = replace(whole, axes=axes_of(run, dims, out))
    each = np.maximum(m.q - m.mean**2, 1e-300)  # an example is divided by its own
    uneven = 1 / float((each.mean() / each).mean())
    share, spread = max(1 - 2 / group + 2 / units, LEAST), m.spread
    if field is not None:  # else of what a group's variance varies by, that of all units is in the examples' own
        share = left.share or max(1 - 2 * field.overlap_of_all(1) / group, LEAST)
        spread = _spread(run, x, field, units)
    share *= uneven
    made, mean, inverse = _with_statistics(run, (whole, function), variance * share, eps, spread, each=field is None)
    return made, mean, apart.inverse(inverse, share, eps) if apart else inverse


def _group_variance(m: Moments, dims: Dims, group: int) -> float:
    """Return the variance of a group over its features and positions."""
    field, q, square = field_of(m, sizes(dims)), float(m.q.mean()), float((m.mean**2).mean())
    within = field.mean()[0] if field else 0.0
    return max(q - square - (q * (1 - within) - square) / group, 1e-300)


def _spread(run: Interpreter, x: Signal, own: Field, units: int) -> Spread:
    """Return how the log of a variance over positions varies: with the scale that came in, and by the units' own draw.

    A unit's variance, its mean taken out, has the relative variance 2 mean(c²) over all pairs of places.
    """
    source = x.wave.source if x.wave is not None else None
    if source is None or x.linear is None:
        return x.moments.spread
    return source.before.plus(run.noises.fresh(2 * own.overlap_of_all(run.batch.size) / units))


def _inverse_share(run: Interpreter, x: Signal) -> float:
    """Return 1/(E[s²] E[1/s²]) for the variance s² of a unit over the batch: 1 - v for a gamma variable.

    v is its relative variance over units, 2 tr(K²)/tr(K)² for the centred kernel K of the batch.
    """
    square = run.batch.centred_square(x.moments.d)
    kernel = (square[:, None] + square) / 2 - x.moments.d
    size = float(square.mean())
    return max(1 - 2 * run.batch.pair_mean(kernel**2) / (size * size), LEAST) if size > 0 else 1.0


def _with_statistics(
    run: Interpreter,
    found: tuple[Signal, Normalized | None],
    variance: float,
    eps: float,
    spread: Spread,
    each: bool = False,
) -> tuple[Signal, Fill, Statistic]:
    """Return the output with mean and inverse deviation; the latter remembers what was divided by, for the backward."""
    (whole, function), mean = found, Fill(0.0, 0.0, run.new_fill())
    source = whole.wave.source if whole.wave is not None else None
    made = Statistic(1 / (variance + eps), spread, each=each, source=source, function=function)
    return whole, mean, replace(made, left=variance / (variance + eps))


def _backward(
    run: Interpreter,
    call: Call,
    g: Signal | None,
    statistic: torch.Tensor,
    weight: torch.Tensor | None,
    kept: float,
    removed: tuple[float, float] = (0.0, 0.0),
    rows: float = math.inf,
    over_batch: bool = False,
    group: float = math.inf,
) -> Value:
    """The gradient over the deviation, without what the norm takes out: `removed` of it positions had in common.

    First what is their mean, then what lies along the output. What all examples have in common leaves their differences
    as they are. Of each of `rows` entries nothing is left along the output, where there would be 1/rows by chance. A
    unit's own mean is gone `over_batch`, and of a `group` of units that a norm takes together a share of it.
    """
    known, affine = run.value(statistic), _affine(run, weight, None)
    if g is None or not isinstance(known, Statistic) or affine is None:
        return run.lost(f"{call.name} of something that is no gradient")
    factor = affine[0] ** 2 * known.inverse * kept
    divided = known.spread.scaled(-1.0)
    spread = g.moments.spread.plus(divided)
    if known.each:
        spread = spread.shifted(own_share(g.moments.spread, divided, run))
    m = g.moments
    field = m.field if known.places is None else field_of(m, known.places.shape) if m.field is None else m.field
    if field is not None and 0 < sum(removed) < 1:
        field = without(field, removed, known.source.field if known.source else None, over_batch)
    if known.places is not None and field is not None and field.sizes == known.places.shape:
        field, level = field.times(known.places)
        factor *= level
    d = m.d * factor / max(1 - removed[0], kept) if over_batch and kept > 0 else m.d * factor
    balanced = over_batch or group == 1
    if field is not None and balanced:
        in_all = mean_of_all.sent_back(field, 0.0, run.batch.size if over_batch else 1)
        field = replace(field, in_all=in_all)
    moments = replace(m, mean=m.mean * 0.0, q=m.q * factor, d=d, spread=spread, along=-1 / rows, field=field)
    moments = replace(moments, taken=float(math.isfinite(rows)))
    parts = None
    if known.unit_parts is not None:
        level, parts = unit_parts.multiplied(g.unit_parts, known.unit_parts)
        moments = scaled(moments, level**0.5)
    if known.in_common is not None:
        left = known.in_common + (1 - known.in_common) * m.taken
        moments = place_lengths.thinned(moments, left, run.batch)
    whole = Signal(moments, base=moments, ancestors=g.ancestors, mark="approximate", balanced=balanced)
    x = run.value(call.args[1])
    whole = met_again(run, whole, g, known, x, over_batch=over_batch, share=1.0 if over_batch else 1 / group)
    if balanced and known.unit_parts is None and isinstance(x, Signal) and x.base is None:
        of_all = balance.of_norm(x.wave, g, whole.wave, affine[0] ** 2 * known.inverse, batch=over_batch)
        whole = replace(whole, balance=of_all)
    whole = placed(run, list(call.args[:2]), whole, call.out[0]) if call.out[0] is not None else whole
    return replace(whole, unit_parts=parts and sized(parts, whole))


def layer_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Two of n directions are taken out: the mean, and the output itself, with what lies along it beyond chance.

    Of a gradient that a norm right behind has sent back, beside a branch, they are gone: approximate, as the branch is
    taken to be small beside this norm's output.
    """
    n = int(np.prod(call.args[2]))
    g, removed = as_signal(run, run.value(call.args[0])), 0.0
    if g is not None:
        beyond = 0.0 if g.moments.taken else max(g.moments.along, -1 / n)
        parts = removed_of(run, g, call.args[4], lambda m: 1 / n, n)
        removed = sum(parts) * (1 - g.moments.taken) + beyond
    whole = _backward(run, call, g, call.args[4], call.args[5], max(1 - removed, 0.0), rows=n)
    rows = tuple(range(call.args[0].dim() - len(call.args[2])))
    return whole, *scale_and_shift(run, call, call.args[4], rows)


def batch_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The mean over the batch is taken out, and one direction more of as many as there are entries a unit."""
    found = laid_out(run, call.args[0], (0, *range(2, call.args[0].dim())))
    if found is None:
        return run.lost(f"{call.name} of something that is no gradient")
    g, dims = found
    if not call.args[7]:
        whole = running_backward(run, call, g, _affine(run, call.args[2], None))
        return whole, *scale_and_shift(run, call, call.args[6], _places(call))
    batch = run.batch
    entries = batch.size * math.prod(sizes(dims))
    mean, met, along = removed_of(
        run, g, call.args[6], lambda m: 1 - _batch_variance(m, dims, batch) / max(float(m.q.mean()), 1e-300), entries
    )
    kept = 1 - mean - met - along
    if EXAMPLE in roles(run.dims(call.args[0])[1]):
        return _by_group_backward(run, call, call.args[6], call.args[2], 1)
    whole = _backward(run, call, g, call.args[6], call.args[2], max(kept, 0.0), (mean, met), over_batch=True)
    return whole, *scale_and_shift(run, call, call.args[6], _places(call), over_batch=True)


def _places(call: Call) -> tuple[int, ...]:
    """Return the dimensions that are not those of the units."""
    return (0, *range(2, call.args[0].dim()))


def group_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The mean over a group is taken out, and one direction more of as many as it has entries."""
    return _by_group_backward(run, call, call.args[3], call.args[4], call.args[6] // call.args[8])


def _by_group_backward(
    run: Interpreter, call: Call, statistic: torch.Tensor, weight: torch.Tensor | None, group: int
) -> Value | tuple[Value, ...]:
    found = laid_out(run, call.args[0], tuple(range(2, call.args[0].dim())))
    if found is None:
        return run.lost(f"{call.name} of something that is no gradient")
    g, dims = found

    def common(m: Moments) -> float:
        field = field_of(m, sizes(dims))
        return (1 - field.mean()[0]) / group if field else 1 / group

    mean, met, along = removed_of(run, g, statistic, common, group * math.prod(sizes(dims)))
    kept = 1 - mean - met - along
    whole = _backward(run, call, g, statistic, weight, max(kept, 0.0), (mean, met), group=group)
    return whole, *scale_and_shift(run, call, statistic, _places(call))


RULES: dict[Any, Rule] = {
    aten.native_layer_norm: like_its_input(layer_norm),
    aten.native_layer_norm_backward: like_its_input(layer_norm_backward),
    aten.native_batch_norm: like_its_input(batch_norm),
    aten.native_batch_norm_backward: like_its_input(batch_norm_backward),
    aten.native_group_norm: like_its_input(group_norm),
    aten.native_group_norm_backward: like_its_input(group_norm_backward),
}
