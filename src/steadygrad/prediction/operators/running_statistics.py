"""Batch norms by running statistics: a scale and a shift that the buffers say."""

from __future__ import annotations

import torch

from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import forward, scaled
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import Concrete, Fill, Signal, Value

from .positions import Dims, axes_of, features, placed


def with_running_statistics(
    run: Interpreter, call: Call, found: tuple[Signal, Dims], affine: tuple[float, float]
) -> Value | tuple[Value, ...]:
    """Scale and shift by the buffers: where they differ between units, by their means."""
    (x, dims), statistics = found, [_statistic(run, t) for t in call.args[3:5]]
    mean, variance = statistics
    if mean is None or variance is None:
        return run.lost(f"{call.name} with running statistics that are not known")
    factor = affine[0] / (variance + call.args[7]) ** 0.5
    shift = affine[1] - mean * factor
    wave = x.wave if x.wave is not None and x.wave.source is not None else None
    source = wave.source if wave else gaussian(x.moments, features(call.out[0], dims, run.batch.size), run.batch)
    assert source is not None
    new = Wave(source, (wave.values if wave else source.nodes) * factor + shift)
    moments = forward(new, run.batch, run.noises)
    linear = x.linear if shift == 0 else None
    known = Fill(0.0, 0.0, run.new_fill())
    axes = axes_of(run, dims, call.out[0])
    return Signal(moments, new, None, x.ancestors, linear, "approximate", axes), known, known


def running_backward(run: Interpreter, call: Call, g: Signal, affine: tuple[float, float] | None) -> Value:
    """The gradient over the buffers' deviation."""
    variance = _statistic(run, call.args[4])
    if affine is None or variance is None:
        return run.lost(f"{call.name} with running statistics that are not known")
    moments = scaled(g.moments, affine[0] / (variance + call.args[8]) ** 0.5)
    whole = Signal(moments, None, moments, g.ancestors, None, "approximate")
    return placed(run, [call.args[0]], whole, call.out[0])


def _statistic(run: Interpreter, tensor: torch.Tensor | None) -> float | None:
    match run.value(tensor) if tensor is not None else None:
        case Fill(mean=mean):
            return mean
        case Concrete(tensor=data):
            return float(data.double().mean())
        case _:
            return None
