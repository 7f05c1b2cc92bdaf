"""Products with a matrix: forward through a parameter, backward through it, and the gradient of the parameter.

Assumes that the entries of the parameter are independent of each other and of what they multiply; backward, that the
gradient is independent of the forward pass through the same matrix, which holds up to the inverse of the width.
"""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.prediction import linear_map
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.sampling import moments_of, moments_of_data
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import (
    Concrete,
    Draws,
    Fill,
    Moments,
    ParameterGradient,
    Signal,
    Unknown,
    Value,
    worst,
)

aten = torch.ops.aten


def as_signal(run: Interpreter, value: Value) -> Signal | None:
    """Return data or samples as a signal; None where it is neither, nor one already."""
    match value:
        case Signal():
            return value
        case Concrete(tensor=data) if _is_batch(data, run):
            return Signal(moments_of_data(data, run.batch))
        case Draws(values=samples) if bool(samples.isfinite().all()):
            moments = moments_of(value, run.batch, run.noises)
            base = moments if run.backward else None
            return Signal(moments, base=base, ancestors=value.ancestors, mark="approximate")
        case _:
            return None


def _is_batch(data: torch.Tensor, run: Interpreter) -> bool:
    examples = data.dim() > 0 and len(data) == run.batch.size
    return examples and data.is_floating_point() and bool(data.isfinite().all())


def matmul(run: Interpreter, call: Call) -> Value:
    """A product a b: one of them a parameter, or both signals."""
    return _product(run, call, call.args[0], call.args[1], None)


def addmm(run: Interpreter, call: Call) -> Value:
    """A product with a bias: bias + a b."""
    bias = run.value(call.args[0])
    if not isinstance(bias, Fill) or any(argument != 1 for argument in call.kwargs.values()):
        return run.lost(f"{call.name} with a bias that is no parameter, or a factor")
    return _product(run, call, call.args[1], call.args[2], bias)


def _product(run: Interpreter, call: Call, a: torch.Tensor, b: torch.Tensor, bias: Fill | None) -> Value:
    left, right = run.value(a), run.value(b)
    terms = a.shape[-1]
    match left, right:
        case (_, Fill()) if (x := as_signal(run, left)) is not None:
            return through(run, x, right, bias, terms=terms, units=call.out.shape[-1])
        case (Fill(), _) if (x := as_signal(run, right)) is not None:
            return through(run, x, left, bias, terms=terms, units=call.out.shape[0])
        case _:
            return _weight_gradient(run, call, left, right)


def through(run: Interpreter, x: Signal, weight: Fill, bias: Fill | None, *, terms: int, units: int) -> Signal:
    """Return the signal behind a matrix of independent entries."""
    weight = weight.acting
    ancestors = x.ancestors | 1 << weight.source
    again = weight.source in run.sources and x.base is None
    uncentred = weight.mean != 0
    mark = worst(x.mark, weight.mark, "approximate" if again or uncentred else "exact")
    if uncentred:
        run.note(f"weights with a mean, {weight.mean:.3g}: what all units of a layer share of it is not followed")
    if x.base is not None:
        sizes = {"terms": terms, "units": units}
        source = run.sources.get(weight.source)
        moments = linear_map.backward(x.moments, weight, source, batch=run.batch, noises=run.noises, **sizes)
        return Signal(moments, base=moments, ancestors=x.ancestors, linear=weight.source, mark=_plain(mark, x))
    source = linear_map.forward(x.moments, weight, bias, terms=terms, units=units, batch=run.batch, noises=run.noises)
    run.sources[weight.source] = None if weight.source in run.sources else source  # a second use: neither is the one
    wave = Wave(source, source.nodes, gaussian=True)
    moments = forward(wave, run.batch, run.noises)
    return Signal(moments, wave, ancestors=ancestors, linear=weight.source, mark=mark)


def _plain(mark: Any, x: Signal) -> Any:
    """A gradient passes the matrix that made its forward pass: no second use of it."""
    return mark


def _weight_gradient(run: Interpreter, call: Call, left: Value, right: Value) -> Value:
    g, x = (as_signal(run, _upright(value, run)) for value in (left, right))
    if g is None or x is None or not run.backward:
        return run.lost(f"{call.name} of {_kind(left)} and {_kind(right)}")
    return ParameterGradient(linear_map.weight_gradient(g.moments, x.moments, run.batch))


def _upright(value: Value, run: Interpreter) -> Value:
    """Data with the examples last, as a transposed factor of a weight's gradient has them, with the examples first."""
    if isinstance(value, Concrete) and value.tensor.dim() == 2 and value.tensor.shape[1] == run.batch.size:
        return value if len(value.tensor) == run.batch.size else Concrete(value.tensor.t())
    return value


def _kind(value: Value) -> str:
    return {Fill: "a parameter", Unknown: "something unknown"}.get(type(value), type(value).__name__.lower())


def bias_gradient(g: Moments, run: Interpreter) -> ParameterGradient:
    """Return the second moment of Σ_b g_b."""
    return ParameterGradient(run.batch.size**2 * run.batch.pair_mean(g.product))


RULES: dict[Any, Rule] = {aten.mm: matmul, aten.addmm: addmm}
