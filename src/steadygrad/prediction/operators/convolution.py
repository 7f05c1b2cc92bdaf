"""Convolutions: a sum over a window, of as many terms as the window has inside the input.

Each position has a second moment of its own, as zero padding and borders make it; the correlation of two positions is
taken as a function of their distance alone: approximate, exact for an input that is so and has no padding. Two
positions of the outcome meet the same weights at the same distance, so correlations pass as they are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch

from steadygrad.prediction import linear_map, mean_of_all, taps, weight_gradients
from steadygrad.prediction.axes import FEATURE, Axis, sizes
from steadygrad.prediction.borders import lost
from steadygrad.prediction.field import Array, Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.measured_weights import as_weight
from steadygrad.prediction.met_as_term import along_term
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.regridded import regridded
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import Noises
from steadygrad.prediction.taps import Taps
from steadygrad.prediction.values import Fill, Moments, ParameterGradient, Signal, Value
from steadygrad.prediction.windows import along, strided

from .positions import axes_of, field_of, laid_out

aten = torch.ops.aten
Geometry: TypeAlias = dict[str, Any]


def _geometry(call: Call, first: int) -> Geometry:
    """The arguments of a convolution, a value for each axis."""
    axes = call.args[1 if first == 3 else 2].dim() - 2
    names = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
    given = dict(zip(names, call.args[first : first + 6], strict=True))
    return {n: [v[i % len(v)] for i in range(axes)] if isinstance(v, list | tuple) else v for n, v in given.items()}


def _window_sums(share: Array, kernel: torch.Size, out: torch.Size, how: Geometry, transposed: bool) -> Array:
    """Return for each outcome the sum over its window of what each position has: zero outside the input."""
    x = torch.from_numpy(np.ascontiguousarray(share))[None, None]
    ones = torch.ones((1, 1, *kernel[2:]), dtype=x.dtype)
    stride, padding, dilation = how["stride"], how["padding"], how["dilation"]
    none = [0] * len(stride)
    if not transposed:
        y = aten.convolution(x, ones, None, stride, padding, dilation, False, none, 1)
    else:
        reach = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(share.shape, stride, padding, dilation, kernel[2:], strict=True)
        ]
        more = [n - r for n, r in zip(out[2:], reach, strict=True)]
        y = aten.convolution(x, ones, None, stride, padding, dilation, True, more, 1)
    return np.asarray(y[0, 0].numpy())


def _windowed(
    m: Moments,
    places: tuple[int, ...],
    kernel: torch.Size,
    out: torch.Size,
    how: Geometry,
    transposed: bool,
    noises: Noises,
) -> tuple[Moments, float]:
    """Return the moments over the positions of the outcome, and how many positions a window has on average."""
    m = lost(m, _window_sums(np.ones(out[2:]), kernel, torch.Size((1, 1, *places)), how, not transposed), noises)
    field = field_of(m, places)
    assert field is not None
    share = _window_sums(field.share, kernel, out, how, transposed)
    count = float(share.mean())
    new = tuple(out[2:])
    axes = _axes(places, kernel, new, how, transposed)
    met = reduce(np.multiply.outer, [taps.in_common(axis) for axis in axes])
    varied, lengths = (
        strided(_left_in_windows(field, by_lag, kernel, how["dilation"]), how["stride"], new, transposed)
        for by_lag in (field.varying, field.by_lag)
    )
    apart = [taps.apart(axis) for axis in axes]
    kept = float(varied.flat[0]) / field.varied if field.varied > 0 else 1.0
    gaps = (strided(gap, how["stride"], new, transposed) for gap in (field.within, field.across))
    within, across = (1 - met * (1 - gap) for gap in gaps)
    means = _window_sums(field.along_the_mean, kernel, out, how, transposed)
    found = Field(
        share / max(count, 1e-300),
        within,
        across,
        varied,
        given=field.given,
        lengths=lengths,
        together=along(field.drifting, apart),
        means=means / max(float(means.mean()), 1e-300),
        gram=field.gram and field.gram.summed(taps.met_by(tuple(axes))),
        in_all=mean_of_all.behind_windows(field, axes),
    )
    m = replace(m, field=found, excess=m.excess * kept)
    if field.parted is None:
        return m, count
    layout = field.share if field.parted.layout is None else field.parted.layout
    layout = _window_sums(layout, kernel, out, how, transposed) / max(count, 1e-300)
    level = float(layout.mean())
    parted = field.parted.through(lambda by_lag: along(by_lag, apart), layout / max(level, 1e-300))
    return replace(m, d=m.d * level, field=replace(found, parted=parted)), count


def _left_in_windows(field: Field, by_lag: Array, kernel: torch.Size, dilation: list[int]) -> Array:
    """Return, by lag, what a sum over windows leaves of how products vary: a mean over pairs of their places."""
    return along(by_lag, [taps.everywhere(*axis) for axis in zip(field.sizes, kernel[2:], dilation, strict=True)])


def _axes(
    places: tuple[int, ...], kernel: torch.Size, out: tuple[int, ...], how: Geometry, transposed: bool
) -> list[Taps]:
    axes = zip(places, out, kernel[2:], how["stride"], how["padding"], how["dilation"], strict=True)
    return [Taps(n, m, k, s, p, d, transposed) for n, m, k, s, p, d in axes]


def _positional(run: Interpreter, tensor: torch.Tensor) -> tuple[Signal, Any] | None:
    """Return what is convolved, positions in the order of its dimensions."""
    return laid_out(run, tensor, tuple(range(2, tensor.dim()))) if tensor.dim() > 2 else None


def convolution(run: Interpreter, call: Call) -> Value:
    """A window's sum for each output: channels of a group times the taps inside the input."""
    found, weight = _positional(run, call.args[0]), as_weight(run, call.args[1])
    bias = run.value(call.args[2]) if call.args[2] is not None else None
    if found is None or not isinstance(weight, Fill) or not isinstance(bias, Fill | None) or found[0].base is not None:
        return run.lost(f"{call.name} of something else than a signal and a parameter")
    (x, dims), how, outs, weight = found, _geometry(call, 3), call.out.shape, weight.acting
    places = tuple(call.args[0].shape[2:])
    flat, transposed = _flat(x.moments, dims, places), how["transposed"]
    met, count = _windowed(flat, places, call.args[1].shape, outs, how, transposed, run.noises)
    terms = call.args[0].shape[1] / how["groups"] * count
    source = linear_map.forward(met, weight, bias, terms=terms, units=outs[1], batch=run.batch, noises=run.noises)
    run.sources[weight.source] = source
    wave = Wave(source, source.nodes, gaussian=True)
    ancestors = x.ancestors | 1 << weight.source
    moments = forward(wave, run.batch, run.noises)
    axes = axes_of(run, _dims_of(dims[0], call.out), call.out)
    return Signal(moments, wave, ancestors=ancestors, linear=weight.source, mark="approximate", axes=axes)


def _flat(m: Moments, dims: Any, places: tuple[int, ...]) -> Moments:
    """Positions of one axis are laid out on the input's; where there are not as many they count as independent."""
    known = m.field is not None and math.prod(sizes(dims)) == math.prod(places)
    return replace(m, field=regridded(m.field, places) if known and m.field else None)


def _dims_of(examples: Any, out: torch.Tensor) -> Any:
    places = tuple((Axis(i, n, 1),) if n > 1 else () for i, n in enumerate(out.shape[2:]))
    return (examples, (Axis(FEATURE, out.shape[1], 1),), *places)


def convolution_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The gradient of the input, a window's sum the other way; of the weight and of the bias, sums over positions."""
    g, x, weight = _positional(run, call.args[0]), _positional(run, call.args[1]), as_weight(run, call.args[2])
    if g is None or x is None or not isinstance(weight, Fill):
        return run.lost(f"{call.name} of something else than a gradient, a signal and a parameter")
    how, outs, inputs, kernel = _geometry(call, 4), call.args[0].shape, call.args[1].shape, call.args[2].shape
    into = _into(run, g, weight, how, (outs, inputs, kernel))
    near = _flat(g[0].moments, g[1], tuple(outs[2:])), _flat(x[0].moments, x[1], tuple(inputs[2:]))
    of_weight = ParameterGradient(
        _of_taps(run, near, (outs, inputs, kernel), how)
        + _along_outcome(run, g[0], weight, near[1], (outs, kernel), how)
    )
    known = g[0].balance.sum_of(g[0].wave, run.batch) if g[0].balance and not g[0].balanced else None
    if known is None:
        known = 0.0 if g[0].balanced else weight_gradients.of_bias(_over(near[0], outs), run.batch)
    of_bias = ParameterGradient(known)
    if call.out[0] is None:
        return Signal(near[0], base=near[0]), of_weight, of_bias
    return replace(into, axes=axes_of(run, _dims_of(x[1][0], call.out[0]), call.out[0])), of_weight, of_bias


def _of_taps(
    run: Interpreter, near: tuple[Moments, Moments], shapes: tuple[torch.Size, torch.Size, torch.Size], how: Geometry
) -> float:
    """Return the second moment of a sum over windows, of which a tap meets as many places as it has inside the input.

    A transposed convolution has a window for each place that goes in.
    """
    outs, inputs, kernel = shapes
    few, many = (inputs, outs) if how["transposed"] else (outs, inputs)
    inside = _window_sums(np.ones(tuple(many[2:])), kernel, few, how, transposed=False)
    share = float(inside.mean()) / math.prod(kernel[2:])
    g, x = (_over(m, s) for m, s in zip(near, (outs, inputs), strict=True))
    if x.field is not None and not how["transposed"]:
        g = replace(g, along=g.along * _of_one_tap(x.field, kernel, how["dilation"]))
    if how["transposed"]:
        g = _pairs(g, how["stride"], tuple(few[2:]))
    else:
        x = _pairs(x, how["stride"], tuple(few[2:]))
    sums = None
    if g.field is not None and not how["transposed"]:
        sums = mean_of_all.sums_by_tap(g.field, _axes(tuple(outs[2:]), kernel, tuple(inputs[2:]), how, True))
    if sums is None:
        return weight_gradients.of_weight(g, x, run.batch, met=share)
    x, (own, other) = weight_gradients.beside_mean(x, run.batch)
    whole = float(g.q.mean()) * run.batch.size * (own * sums[0] + (run.batch.size - 1) * other * sums[1])
    return weight_gradients.of_weight(g, x, run.batch, met=share) + max(whole, 0.0)


def _along_outcome(
    run: Interpreter, g: Signal, weight: Fill, x: Moments, shapes: tuple[torch.Size, torch.Size], how: Geometry
) -> float:
    """Return what a function h of the outcome z adds where windows have more or less in common than on average.

    Of two places with a product c of their windows g h(z) has E[h z]² c in common, beside the mean: so the variance of
    c is met, at one tap.
    """
    (outs, kernel), source = shapes, run.sources.get(weight.source)
    if source is None or g.base is None or g.wave is None or g.wave.source is not source or how["transposed"]:
        return 0.0
    if x.field is None:
        return 0.0
    varied = x.field.varied * _of_one_tap(x.field, kernel, how["dilation"]) * source.of_signal
    whole = weight_gradients.of_bias(_over(g.base, outs), run.batch)
    return along_term(g.wave, source, run.kinship) ** 2 * whole * varied * float(x.q.mean())


def _of_one_tap(field: Field, kernel: torch.Size, dilation: list[int]) -> float:
    """Return the share that one tap has in what products of two windows vary by: 1 where all of a window is alike.

    What goes back along an outcome has products that vary as those of whole windows do, which a weight meets at its own
    tap alone: a mean over pairs of taps of how products that lie as far apart vary together.
    """
    if not field.varied > 0:
        return 1.0
    whole = np.zeros(field.sizes)
    for apart in np.ndindex(*kernel[2:]):
        at = tuple(lag * d for lag, d in zip(apart, dilation, strict=True))
        if all(lag < n for lag, n in zip(at, field.sizes, strict=True)):
            pairs = ((1 + (lag > 0)) * (k - lag) / k**2 for lag, k in zip(apart, kernel[2:], strict=True))
            whole[at] = math.prod(pairs)
    return float(np.clip((whole * field.varying).sum() / field.varied, 0.0, 1.0))


def _over(m: Moments, shape: torch.Size) -> Moments:
    """Return moments over the positions of a tensor of this shape."""
    return replace(m, field=field_of(m, tuple(shape[2:])))


def _into(run: Interpreter, found: Any, weight: Fill, how: Geometry, shapes: tuple[torch.Size, ...]) -> Signal:
    (g, dims), (outs, inputs, kernel) = found, shapes
    places = tuple(outs[2:])
    flat = _flat(g.moments, dims, places)
    met, count = _windowed(flat, places, kernel, inputs, how, not how["transposed"], run.noises)
    terms = outs[1] / how["groups"] * count
    source = run.sources.get(weight.source)
    ratio = math.prod(outs[2:]) / math.prod(inputs[2:])
    moments = linear_map.backward(
        met,
        weight,
        source,
        terms=terms,
        units=inputs[1],
        batch=run.batch,
        noises=run.noises,
        widening=outs[1] / inputs[1] * ratio,
        places=math.prod(inputs[2:]),
    )
    return Signal(moments, base=moments, ancestors=g.ancestors, linear=weight.source, mark="approximate")


def _pairs(x: Moments, stride: list[int], places: tuple[int, ...]) -> Moments:
    """Return what went in as the positions of the outcome meet it."""
    if x.field is None:
        return x
    within, across, varying = (
        strided(lags, stride, places, False) for lags in (x.field.within, x.field.across, x.field.varying)
    )
    return replace(x, field=Field(np.ones(places), within, across, varying))


convolution.weighs = True  # type: ignore[attr-defined]  # numbers of one draw are a weight there
RULES: dict[Any, Rule] = {aten.convolution: convolution, aten.convolution_backward: convolution_backward}
