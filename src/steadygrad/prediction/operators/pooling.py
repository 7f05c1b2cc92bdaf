"""Pooling: means and largest values over windows of positions.

A mean over positions keeps what they have in common. The largest of a window is drawn, seeded: positions jointly
Gaussian with their correlation by lag. Backward, a position gets the gradient where it is the largest, so a mask that
the same source makes is met as often as it really is. Approximate: the outcome is taken as a function of one Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import hermite, mean_of_all
from steadygrad.prediction.averaged_units import unit_variance
from steadygrad.prediction.axes import Axis, sizes
from steadygrad.prediction.balance import Balance, through_pool
from steadygrad.prediction.chosen import met_by_chance, sent_back
from steadygrad.prediction.field import Field
from steadygrad.prediction.gradients import backward
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.largest import Largest, drawn_largest
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import centred, forward, scaled
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Array, Chosen, Moments, Signal, Value
from steadygrad.prediction.windows import Window, averaged, products, spread_back

from .fills import argument
from .positions import Dims, apart_here, axes_of, features, field_of, laid_out, nowhere, on_a_grid

aten = torch.ops.aten


def pooled_signal(
    run: Interpreter, x: Signal, m: Moments, dims: Dims, out: torch.Tensor, windows: list[Window] | None = None
) -> Signal:
    """Return a mean over positions as a signal: Gaussian with these moments; over windows units vary as they do."""
    units = features(out, dims, run.batch.size)
    of = _over_places(x.wave, x.moments.field, run.batch.size) if x.wave and x.base is None else None
    own = unit_variance(of, windows, run.batch) if windows and of else None
    if own is not None:
        m = replace(m, spread=m.spread.plus(run.noises.fresh(max(own - x.moments.unit_variance, 0.0) / units)))
    source = gaussian(m, units, run.batch)
    wave = Wave(source, source.nodes, gaussian=True) if x.base is None else None
    m = replace(m, unit_variance=source.own_variance if own is None else own)
    base = m if x.base is not None else None
    return Signal(m, wave, base, x.ancestors, None, "approximate", axes_of(run, dims, out))


def _over_places(wave: Wave, field: Field | None, examples: int) -> Wave:
    """Return a function of a source with the positions that features of it have become, if they have."""
    source = wave.source
    if source is None or source.field is not None or field is None:
        return wave
    units = source.units / field.count
    return replace(wave, source=replace(source, field=field.of_one(units, examples), units=units))


def _windows(call: Call, places: torch.Size, outs: torch.Size) -> list[Window]:
    count = _axes(call)
    sizes = list(zip(places[-count:], outs[-count:], strict=True))
    if "adaptive" in call.name:
        return [_adaptive(n, m) for n, m in sizes]
    kernel, stride, padding = (argument(call, n, 0) for n in ("kernel_size", "stride", "padding"))
    each = [_each(v, count) for v in (kernel, stride or kernel, padding)]
    own = argument(call, "divisor_override", None) if "avg" in call.name else None
    zeros = "avg" in call.name and bool(own or argument(call, "count_include_pad", True))
    return [Window(k, s, p, n, m, zeros and p > 0) for k, s, p, (n, m) in zip(*each, sizes, strict=True)]


def _beside_divisor(call: Call, windows: list[Window]) -> float:
    """Return by how much more a mean is where its sum is divided by a number of its own."""
    own = None if "adaptive" in call.name else argument(call, "divisor_override", None)
    return math.prod(w.kernel for w in windows) / own if own else 1.0


def _adaptive(size: int, out: int) -> Window:
    """Return windows from floor(i size/out) to ceil((i + 1) size/out), all of one length where that divides."""
    longest = max(-(-(i + 1) * size // out) - i * size // out for i in range(out))
    return Window(longest, size // out, 0, size, out, adaptive=size % out > 0)


def _axes(call: Call) -> int:
    """Return over how many of the last dimensions an operator's windows are: what is before them are features."""
    return next(n for n in (1, 2, 3) if f"{n}d" in call.name)


def _each(value: Any, count: int) -> list[int]:
    given = list(value) if isinstance(value, list | tuple) else [value]
    return given * count if len(given) == 1 else given


def _grid(run: Interpreter, call: Call, tensor: torch.Tensor) -> tuple[Signal, Dims] | None:
    """Return a signal over a grid of positions, the dimensions that an operator's windows are over."""
    first = tensor.dim() - _axes(call)
    found = laid_out(run, tensor, tuple(range(first, tensor.dim())))
    if found is None:
        return None
    x, dims = on_a_grid(*found)
    grid = tuple(n for n in tensor.shape[first:] if n > 1)
    if sizes(dims) != grid:
        return None
    whole = field_of(x.moments, grid) or nowhere(apart_here(x.moments))
    return replace(x, moments=replace(x.moments, field=full(whole, tuple(tensor.shape[first:])))), dims


def full(field: Field, shape: tuple[int, ...]) -> Field:
    """Return a field with its axes, and others of one place, of this shape."""
    lags = (a.reshape(shape) for a in (field.share, field.within, field.across, field.varying))
    parted = field.parted and field.parted.turned(lambda x: x.reshape(shape))
    return Field(*lags, given=field.given, parted=parted, gram=field.gram, in_all=field.in_all)


def squeezed(m: Moments) -> Moments:
    """Return moments without axes of one place."""
    field = m.field
    if field is None:
        return m
    shape = tuple(n for n in field.sizes if n > 1)
    return replace(m, field=full(field, shape) if shape else None)


def _outer(dims: Dims, call: Call, out: torch.Tensor) -> Dims:
    """The dimensions of an outcome on another grid."""
    places, count, first = [], 0, out.dim() - _axes(call)
    for n in out.shape[first:]:
        places.append((Axis(count, n, 1),) if n > 1 else ())
        count += n > 1
    return (*dims[:first], *places)


def mean_pool(run: Interpreter, call: Call) -> Value:
    """The mean over windows of positions."""
    found = _grid(run, call, call.args[0])
    if found is None:
        return run.lost(f"{call.name} of something that is no signal")
    x, dims = found
    windows = _windows(call, call.args[0].shape, call.out.shape)
    m = scaled(squeezed(averaged(x.moments, windows)), _beside_divisor(call, windows))
    return pooled_signal(run, x, m, _outer(dims, call, call.out), call.out, windows)


def mean_pool_backward(run: Interpreter, call: Call) -> Value:
    """Each position of a window gets its share of the gradient."""
    found = _grid(run, call, call.args[0])
    if found is None:
        return run.lost(f"{call.name} of something that is no gradient")
    x, dims = found
    windows = _windows(call, call.out.shape, call.args[0].shape)
    factor = _beside_divisor(call, windows)
    m = scaled(squeezed(spread_back(x.moments, windows)), factor)
    axes = axes_of(run, _outer(dims, call, call.out), call.out)
    balanced = x.balanced and not any(w.padding for w in windows)  # else some of a window's share lies outside
    return Signal(
        m, None, m, x.ancestors, None, "approximate", axes, balanced=balanced,
        balance=_before_pool(run, call, x, m) if balanced else None,
    )  # fmt: skip


def _before_pool(run: Interpreter, call: Call, g: Signal, base: Moments) -> Balance | None:
    """Return the balance of what windows have shared out."""
    x, ones = run.value(call.args[1]) if len(call.args) > 1 else None, np.ones_like(hermite.tables()[0])
    if not isinstance(x, Signal) or g.balance is None or x.base is not None:
        return None
    return through_pool(g, x.wave, base, ones, ones)


def max_pool(run: Interpreter, call: Call) -> tuple[Value, ...]:
    """The largest of each window: drawn, then held as a monotone function of a Gaussian of its own."""
    out, found = call.out[0], _grid(run, call, call.args[0])
    wave = found[0].wave if found else None
    if found is None or wave is None or wave.source is None or found[0].base is not None:
        lost = run.lost(f"{call.name} of something that is no function of one pre-activation")
        return lost, lost
    if any(step != 1 for step in _each(argument(call, "dilation", 1), 1)):
        lost = run.lost(f"{call.name} of places that are not next to each other")
        return lost, lost
    x, dims = found
    windows = _windows(call, call.args[0].shape, out.shape)
    drawn = drawn_largest(wave, windows, tuple(call.args[0].shape[-_axes(call) :]))
    units = features(out, _outer(dims, call, out), run.batch.size)
    signal = as_largest(run, x, drawn, (wave.source, windows), units)
    return replace(signal, axes=axes_of(run, _outer(dims, call, out), out)), Chosen(drawn.chances)


def as_largest(run: Interpreter, x: Signal, drawn: Largest, pooled: tuple[Source, list[Window]], units: int) -> Signal:
    """Return the largest as a function of a Gaussian, of which two windows have what their positions have in common."""
    x = replace(x, moments=averaged(x.moments, pooled[1]))
    r, (source, windows) = run.batch.followed, pooled
    here = run.batch.distinct_mean(source.gap) if r > 1 else 0.0
    field = _lags(source, windows, drawn)
    gap = np.clip(source.gap * (float(field.across.flat[0]) / here if here > 0 else 1.0), 0.0, 2.0)
    m = squeezed(replace(x.moments, field=field))
    new = Source(
        np.zeros(r), np.ones(r), gap, units, source.spread, CERTAIN, min(source.own_variance, 2.0), field=m.field
    )
    wave = Wave(new, drawn.values[None])
    moments = forward(wave, run.batch, run.noises)
    if moments.field is not None:
        share = drawn.share.reshape(moments.field.sizes)
        moments = replace(moments, field=moments.field.shaped(share))
    return Signal(moments, wave, None, x.ancestors, None, "approximate")


def _lags(source: Source, windows: list[Window], drawn: Largest) -> Field:
    field = full(centred(source), tuple(w.size for w in windows))
    within, across = (np.clip(1 - drawn.kept * products(c, windows), 0.0, 2.0) for c in field.correlations)
    within.flat[0] = 0.0
    parted = field.parted and field.parted.through(lambda by_lag: products(by_lag, windows))
    return Field(np.ones(within.shape), within, across, field.varied, given=field.given, parted=parted)


def max_pool_backward(run: Interpreter, call: Call) -> Value:
    """Each window sends its gradient to where the largest was."""
    chosen, x = run.value(argument(call, "indices")), run.value(call.args[1])
    found = _grid(run, call, call.args[0])
    if found is None or not isinstance(chosen, Chosen) or not isinstance(x, Signal) or x.wave is None:
        return run.lost(f"{call.name} of something that is no gradient")
    g, dims = found
    windows = _windows(call, call.out.shape, call.args[0].shape)
    return to_largest(run, g, x, chosen.chances, windows, (_outer(dims, call, call.out), call.out))


def to_largest(
    run: Interpreter,
    g: Signal,
    x: Signal,
    chances: Array,
    windows: list[Window],
    where: tuple[Dims, torch.Tensor],
) -> Signal:
    """Return a gradient at the places of x, of which one of each window has it, by these chances."""
    assert x.wave is not None
    chances = chances / max(float(chances @ hermite.tables()[1]), 1e-300)
    share = math.prod(w.out / w.size for w in windows)
    whole = sent_back(g.moments, windows)
    level = float(g.moments.q.mean()) / max(float(whole.q.mean()), 1e-300)
    whole = replace(whole, q=whole.q * level, d=whole.d * level, mean=whole.mean * 0)
    if x.wave.source is not None and x.wave.source.field is not None:
        field = full(centred(x.wave.source), tuple(w.size for w in windows))
        whole = met_by_chance(whole, x.wave.source, field, np.minimum(share * chances, 1.0), windows)
    base = squeezed(replace(whole, field=whole.field and replace(whole.field, in_all=None)))
    wave = Wave(x.wave.source, np.sqrt(share * chances) * np.ones((len(x.wave.values), 1)))
    moments = backward(base, wave, run.batch, run.noises)
    if moments.field is not None:
        in_all = mean_of_all.sent_back(moments.field, 0.0, run.batch.size) if g.balanced else None
        moments = replace(moments, field=replace(moments.field, in_all=in_all))
    passed = through_pool(g, x.wave, base, wave.values.mean(0), chances) if g.balanced else None
    return Signal(
        moments, wave, base, g.ancestors | x.ancestors, None, "approximate", axes_of(run, *where),
        balanced=g.balanced, balance=passed,
    )  # fmt: skip


RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d), mean_pool),
    **dict.fromkeys((aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.adaptive_avg_pool1d), mean_pool),
    **dict.fromkeys((aten.avg_pool2d_backward, aten.avg_pool3d_backward), mean_pool_backward),
    **dict.fromkeys((aten._adaptive_avg_pool2d_backward, aten._adaptive_avg_pool3d_backward), mean_pool_backward),
    **dict.fromkeys((aten.max_pool2d_with_indices, aten.max_pool3d_with_indices), max_pool),
    **dict.fromkeys((aten.adaptive_max_pool2d, aten.adaptive_max_pool3d), max_pool),
    **dict.fromkeys((aten.max_pool2d_with_indices_backward, aten.max_pool3d_with_indices_backward), max_pool_backward),
    **dict.fromkeys((aten.adaptive_max_pool2d_backward, aten.adaptive_max_pool3d_backward), max_pool_backward),
}
