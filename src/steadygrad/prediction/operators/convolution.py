"""Convolutions: a sum over a window, of as many terms as the window has inside the input.

Moments are taken as the same at every position, so zero padding counts by its mean, and the noise of a unit as shared
by all its positions: approximate, exact for the mean where there is no padding and the input is even.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from steadygrad.prediction import linear_map
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import Fill, ParameterGradient, Signal, Value

from .linear import bias_gradient
from .positions import as_signal

aten = torch.ops.aten


def taps(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return how many pairs of an output position and a tap of the kernel meet the input, along one axis.

    >>> taps(8, 8, 3, 1, 1, 1)
    22
    """
    places = (o * stride - padding + k * dilation for o in range(out) for k in range(kernel))
    return sum(0 <= place < size for place in places)


def _meetings(x: torch.Size, out: torch.Size, weight: torch.Size, call: Call, first: int) -> int:
    stride, padding, dilation, transposed = call.args[first : first + 4]
    if transposed:
        x, out = out, x
    axes = range(len(weight) - 2)
    return math.prod(
        taps(x[2 + i], out[2 + i], weight[2 + i], *(v[i % len(v)] for v in (stride, padding, dilation))) for i in axes
    )


def convolution(run: Interpreter, call: Call) -> Value:
    """A window's sum for each output: channels of a group times the taps inside the input."""
    x, weight = as_signal(run, run.value(call.args[0])), run.value(call.args[1])
    bias = run.value(call.args[2]) if call.args[2] is not None else None
    if x is None or not isinstance(weight, Fill) or not isinstance(bias, Fill | None) or x.base is not None:
        return run.lost(f"{call.name} of something else than a signal and a parameter")
    inputs, outs, kernel = call.args[0].shape, call.out.shape, call.args[1].shape
    channels = inputs[1] // call.args[8]
    terms = channels * _meetings(inputs, outs, kernel, call, 3) / math.prod(outs[2:])
    source = linear_map.forward(x.moments, weight, bias, terms=terms, units=outs[1], batch=run.batch, noises=run.noises)
    run.sources[weight.source] = source
    wave = Wave(source, source.nodes, gaussian=True)
    ancestors = x.ancestors | 1 << weight.source
    moments = forward(wave, run.batch, run.noises)
    return Signal(moments, wave, ancestors=ancestors, linear=weight.source, mark="approximate")


def convolution_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The gradient of the input, a window's sum the other way; of the weight and of the bias, sums over positions."""
    g, x, weight = (
        as_signal(run, run.value(call.args[0])),
        as_signal(run, run.value(call.args[1])),
        run.value(call.args[2]),
    )
    if g is None or x is None or not isinstance(weight, Fill):
        return run.lost(f"{call.name} of something else than a gradient, a signal and a parameter")
    outs, inputs, kernel = call.args[0].shape, call.args[1].shape, call.args[2].shape
    meetings = _meetings(inputs, outs, kernel, call, 4)
    terms = outs[1] // call.args[9] * meetings / math.prod(inputs[2:])
    source = run.sources.get(weight.source)
    moments = linear_map.backward(
        g.moments, weight, source, terms=terms, units=inputs[1], batch=run.batch, noises=run.noises
    )
    into = Signal(moments, base=moments, ancestors=g.ancestors, linear=weight.source, mark="approximate")
    positions = math.prod(outs[2:])
    met = meetings / max(math.prod(kernel[2:]), 1)
    of_weight = ParameterGradient(met * linear_map.weight_gradient(g.moments, x.moments, run.batch))
    of_bias = ParameterGradient(positions * max(bias_gradient(g.moments, run).q, 0.0))
    return into, of_weight, of_bias


RULES: dict[Any, Rule] = {aten.convolution: convolution, aten.convolution_backward: convolution_backward}
