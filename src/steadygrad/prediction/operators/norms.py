"""Norms: what divides by its own second moment. Approximate where a layer is narrow or a batch small.

Behind a norm the second moment is what the norm says, whatever came in, so nothing of the spread over draws goes on
forward; backward, the gradient is divided by the realised deviation and so carries that spread with the other sign.
The backward pass takes the mean, and the part along the output, out of the gradient (Ioffe and Szegedy 2015; Ba, Kiros
and Hinton 2016). Scale and shift are followed where one number fills them, as at initialization.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.linear_map import correlation_gap
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import Array, Fill, ParameterGradient, Signal, Statistic, Unknown, Value

from .linear import bias_gradient
from .positions import as_signal

aten = torch.ops.aten


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
    run: Interpreter, x: Signal, std: Array, d: Array, scale: float, shift: float, out: torch.Tensor
) -> Signal:
    """Return a Gaussian source of this deviation for each example, and these differences, under scale and shift."""
    r = run.batch.followed
    std = np.broadcast_to(std, (r,)) * abs(scale)
    gap = correlation_gap(d * scale * scale, std)
    units = max(out.numel() // run.batch.size, 1)
    source = Source(np.full(r, shift), std, gap, units, CERTAIN, CERTAIN, own_variance=0.0, settled=2)
    wave = Wave(source, source.nodes, gaussian=True)
    moments = forward(wave, run.batch, run.noises)
    return Signal(moments, wave, ancestors=x.ancestors, mark="approximate")


def layer_norm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Each example to mean 0 and variance 1 over its features: examples differ as their centred directions do."""
    x, affine = as_signal(run, run.value(call.args[0])), _affine(run, call.args[2], call.args[3])
    if x is None or affine is None:
        return run.lost(f"{call.name} of something that is no signal, or with scales that differ")
    m = x.moments
    variance = np.maximum(m.q - m.mean**2, 1e-300)
    centred = m.d - (m.mean[:, None] - m.mean) ** 2 / 2
    gap = correlation_gap(centred, np.sqrt(variance))
    whole = _normalized(run, x, np.ones(1), gap, *affine, call.out[0])
    n = int(np.prod(call.args[1]))
    return _with_statistics(run, whole, float(variance.mean()) * (1 - 2 / n), call.args[4], m.spread)


def batch_norm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Each unit to mean 0 and variance 1 over the batch: only what differs between examples goes on."""
    x, affine = as_signal(run, run.value(call.args[0])), _affine(run, call.args[1], call.args[2])
    if x is None or affine is None or run.batch.size < 2:
        return run.lost(f"{call.name} of something that is no signal, with scales that differ, or of one example")
    if not call.args[5]:
        return run.lost(f"{call.name} with running statistics")
    variance = run.batch.pair_mean(x.moments.d)
    own = np.sqrt(np.maximum(run.batch.centred_square(x.moments.d) / max(variance, 1e-300), 0.0))
    whole = _normalized(run, x, own, x.moments.d / max(variance, 1e-300), *affine, call.out[0])
    return _with_statistics(run, whole, variance * _inverse_share(run, x), call.args[7], x.moments.spread)


def _inverse_share(run: Interpreter, x: Signal) -> float:
    """Return 1/(E[s²] E[1/s²]) for the variance s² of a unit over the batch: 1 - v for a gamma variable.

    v is its relative variance over units, 2 tr(K²)/tr(K)² for the centred kernel K of the batch.
    """
    square = run.batch.centred_square(x.moments.d)
    kernel = (square[:, None] + square) / 2 - x.moments.d
    size = float(square.mean())
    return max(1 - 2 * run.batch.pair_mean(kernel**2) / (size * size), 0.1) if size > 0 else 1.0


def _with_statistics(run: Interpreter, whole: Signal, variance: float, eps: float, spread: Spread) -> tuple[Value, ...]:
    """Return the output with mean and inverse deviation; the latter remembers what was divided by, for the backward."""
    mean = Fill(0.0, 0.0, run.new_fill())
    inverse = Statistic(1 / (variance + eps), spread)
    return whole, mean, inverse


def _backward(run: Interpreter, call: Call, statistic: torch.Tensor, weight: torch.Tensor | None, kept: float) -> Value:
    """The gradient over the deviation, without the parts that the norm takes out."""
    g, known, affine = as_signal(run, run.value(call.args[0])), run.value(statistic), _affine(run, weight, None)
    if g is None or not isinstance(known, Statistic) or affine is None:
        return run.lost(f"{call.name} of something that is no gradient")
    factor = affine[0] ** 2 * known.inverse * kept
    spread = g.moments.spread.plus(known.spread.scaled(-1.0))
    m = g.moments
    moments = replace(m, mean=m.mean * 0.0, q=m.q * factor, d=m.d * factor, spread=spread, along=0.0)
    return Signal(moments, base=moments, ancestors=g.ancestors, mark="approximate")


def layer_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Two of n directions are taken out: the mean and the output itself."""
    n = int(np.prod(call.args[2]))
    whole = _backward(run, call, call.args[4], call.args[5], 1 - 2 / n)
    return whole, *_scale_and_shift(run, call)


def batch_norm_backward(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The mean over the batch is taken out, and one direction more of as many as there are entries a unit."""
    g = as_signal(run, run.value(call.args[0]))
    if g is None:
        return run.lost(f"{call.name} of something that is no gradient")
    entries = call.args[0].numel() // call.args[0].shape[1]
    apart = run.batch.pair_mean(g.moments.d) / max(float(g.moments.q.mean()), 1e-300)
    kept = 1 - (1 - apart) * run.batch.size / entries - 1 / entries
    return _backward(run, call, call.args[6], call.args[2], max(kept, 0.0)), *_scale_and_shift(run, call)


def _scale_and_shift(run: Interpreter, call: Call) -> tuple[Value, ...]:
    """The gradients of scale and shift: sums over the batch of the gradient times the output, and of the gradient."""
    g = as_signal(run, run.value(call.args[0]))
    if g is None:
        return run.lost(f"{call.name} of something that is no gradient"), Unknown("no gradient")
    terms = max(call.args[0].numel() // (call.args[0].shape[1] * run.batch.size), 1)
    shift = ParameterGradient(terms * max(bias_gradient(g.moments, run).q, 0.0))
    scale = ParameterGradient(terms * run.batch.size * float(g.moments.q.mean()))
    return scale, shift


RULES: dict[Any, Rule] = {
    aten.native_layer_norm: layer_norm,
    aten.native_layer_norm_backward: layer_norm_backward,
    aten.native_batch_norm: batch_norm,
    aten.native_batch_norm_backward: batch_norm_backward,
}
