"""Products with a matrix: forward through a parameter, backward through it, and the gradient of the parameter.

Assumes that the entries of the parameter are independent of each other and of what they multiply; backward, that the
gradient is independent of the forward pass through the same matrix, which holds up to the inverse of the width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction import linear_map, weight_gradients
from steadygrad.prediction.axes import EXAMPLE, FEATURE, SPREAD_OUT, Axis, roles
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.kinship import Through
from steadygrad.prediction.measured_weights import as_weight, is_drawn_weight
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Wave
from steadygrad.prediction.values import (
    Concrete,
    Draws,
    Fill,
    ParameterGradient,
    Signal,
    Unknown,
    Value,
    worst,
)

from . import reparametrized, transposed
from .positions import as_signal, axes_of, laid_out, parameter, positions
from .tables import note_own_rows

aten = torch.ops.aten


def matmul(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A product a b: one of them a parameter, or both signals."""
    return _product(run, call, call.args[0], call.args[1], None)


def addmm(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A product with a bias: bias + a b."""
    bias = run.value(call.args[0])
    if not isinstance(bias, Fill) or any(argument != 1 for argument in call.kwargs.values()):
        return run.lost(f"{call.name} with a bias that is no parameter, or a factor")
    return _product(run, call, call.args[1], call.args[2], bias)


def _of_nothing(run: Interpreter, left: Value, right: Value) -> Fill | None:
    """A product of parameters of which one is zero everywhere, as the factor of an adapter is to begin with."""
    if any(isinstance(v, Fill) and v.variance == 0 == v.mean for v in (left, right)):
        return Fill(0.0, 0.0, run.new_fill()) if _is_parameter(left) and _is_parameter(right) else None
    return None


def _product(
    run: Interpreter, call: Call, a: torch.Tensor, b: torch.Tensor, bias: Fill | None
) -> Value | tuple[Value, ...]:
    left, right = _operands(run, a, b)
    if bias is None and len(a) != run.batch.size and (none := _of_nothing(run, left, right)):
        return none
    if isinstance(left, Fill) and isinstance(right, Fill) and left.variance == 0:
        left = parameter(run, left)  # a state that starts at one number
    if isinstance(right, Fill) and (x := _rows(run, a, left, (0,), call.out, 1)):
        made, way = through(run, x, right, bias, terms=a.shape[1], units=b.shape[1]), transposed.turned(b, 0)
        return transposed.met(run, made, x, right, terms=a.shape[1], units=b.shape[1], other_way=way)
    if isinstance(left, Fill) and (x := _rows(run, b, right, (1,), call.out, 0)):
        made, way = through(run, x, left, bias, terms=b.shape[0], units=a.shape[0]), transposed.turned(a, 1)
        return transposed.met(run, made, x, left, terms=b.shape[0], units=a.shape[0], other_way=way)
    return _weight_gradient(run, call, a, b)


def _operands(run: Interpreter, a: torch.Tensor, b: torch.Tensor) -> tuple[Value, Value]:
    """Return what is known of both, where numbers of one draw that meet a signal or data are a weight."""
    left, right = run.value(a), run.value(b)
    if is_drawn_weight(right) and not _is_parameter(left):
        return left, as_weight(run, b)
    if is_drawn_weight(left) and not _is_parameter(right):
        return as_weight(run, a), right
    return left, right


def _is_parameter(value: Value) -> bool:
    return isinstance(value, Fill) or is_drawn_weight(value)


def batched(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A batch of products: with a parameter, shared over the batch where it is one and the same."""
    a, b = call.args[:2]
    left, right = _operands(run, a, b)
    if isinstance(right, Fill) and (x := _rows(run, a, left, _shared(b, 1), call.out, 2)):
        return through(run, x, right, None, terms=a.shape[2], units=b.shape[2])
    if isinstance(left, Fill) and (x := _rows(run, b, right, _shared(a, 2), call.out, 1)):
        return through(run, x, left, None, terms=b.shape[1], units=a.shape[1])
    if isinstance(left, Draws) or isinstance(right, Draws):
        return run.rules["sampled"](run, call)
    if isinstance(left, Concrete) or isinstance(right, Concrete):
        return run.rules["known map"](run, call)
    return run.lost(f"{call.name} of {_kind(left)} and {_kind(right)}")


def _shared(weight: torch.Tensor, rows: int) -> tuple[int, ...]:
    return (0, rows) if weight.shape[0] == 1 or weight.stride(0) == 0 else (rows,)


def _rows(
    run: Interpreter, tensor: torch.Tensor, value: Value, shared: tuple[int, ...], out: torch.Tensor, new: int
) -> Signal | None:
    """Return the signal that a matrix is applied to at each of its rows, with the axes that the outcome will have.

    The dimension `new` of the outcome is the one that is summed over.
    """
    if tensor.dim() == 2 and shared == (0,) and len(tensor) == run.batch.size and _is_plain(value):
        return as_signal(run, value)
    found = laid_out(run, tensor, shared)
    if found is None:
        return None
    x, dims = found
    if EXAMPLE in roles(dims[new]):
        return None
    dims = tuple(d if i in shared else _of_features(d) for i, d in enumerate(dims))  # each has a matrix of its own
    dims = (*dims[:new], (Axis(FEATURE, out.shape[new], 1),), *dims[new + 1 :])
    return replace(x, axes=axes_of(run, dims, out))


def _of_features(dim: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return tuple(a._replace(role=FEATURE) if a.role == SPREAD_OUT else a for a in dim)


def _is_plain(value: Value) -> bool:
    """Whether rows are examples: no axes are told, and none but the examples' is shared."""
    return isinstance(value, Signal | Draws) and (not isinstance(value, Signal) or value.axes is None)


def through(run: Interpreter, x: Signal, weight: Fill, bias: Fill | None, *, terms: int, units: int) -> Signal:
    """Return the signal behind a matrix of independent entries."""
    weight = weight.acting
    ancestors = x.ancestors | 1 << weight.source
    again = weight.source in run.sources and x.base is None
    if again and weight.variance > 0:
        run.tied = True
        run.coherence.meet(weight.source)
    if run.tied:
        x = replace(x, moments=replace(x.moments, spread=run.coherence.spread(x.moments)))
    uncentred = weight.mean != 0
    mark = worst(x.mark, weight.mark, "approximate" if again or uncentred else "exact")
    if uncentred:
        run.note(f"weights with a mean, {weight.mean:.3g}: what all units of a layer share of it is not followed")
    if x.base is not None:
        sizes = {"terms": terms, "units": units, "places": positions(x.axes)}
        source = run.sources.get(weight.source)
        moments = linear_map.backward(x.moments, weight, source, batch=run.batch, noises=run.noises, **sizes)
        if run.remembers:
            tails = ((weight.kurtosis - 3) / terms, 0.0)
            origin = Through(weight.source, x.moments, weight.variance * terms, None, units, tails, back=True)
            moments = replace(moments, origin=origin)
        return Signal(moments, base=moments, ancestors=x.ancestors, linear=weight.source, mark=mark, axes=x.axes)
    note_own_rows(run, x, weight, terms, units)
    source = linear_map.forward(x.moments, weight, bias, terms=terms, units=units, batch=run.batch, noises=run.noises)
    run.sources[weight.source] = None if weight.source in run.sources else source  # a second use: neither is the one
    wave = Wave(source, source.nodes, gaussian=True)
    added = (bias.source, bias.mean**2 + bias.variance) if bias else None
    moments = forward(wave, run.batch, run.noises)
    if run.remembers:
        tails = ((weight.kurtosis - 3) / terms, bias.kurtosis - 3 if bias else 0.0)
        origin = Through(weight.source, x.moments, weight.variance * terms, added, units, tails)
        source.root = moments = replace(moments, origin=origin)
    return Signal(moments, wave, ancestors=ancestors, linear=weight.source, mark=mark, axes=x.axes)


def _weight_gradient(run: Interpreter, call: Call, a: torch.Tensor, b: torch.Tensor) -> Value | tuple[Value, ...]:
    """The gradient of a weight: a sum over examples and positions of the gradient times what went in."""
    if any(isinstance(v, Fill) and v.variance == 0 == v.mean for v in (run.value(a), run.value(b))):
        return ParameterGradient(0.0)
    if _is_sampled(run, a, b):
        return run.rules["sampled"](run, call)
    if (on := reparametrized.product(run, a, b)) is not None:
        return on
    if {type(run.value(t)) for t in (a, b)} == {Draws, Concrete}:
        found = run.rules["sampled"](run, call)  # the gradient of a weight that data met
        return ParameterGradient(float(found.values.double().square().mean())) if isinstance(found, Draws) else found
    g, x = laid_out(run, a, (1,)), laid_out(run, b, (0,))
    if g is None or x is None or not run.backward:
        return run.lost(f"{call.name} of {_kind(run.value(a))} and {_kind(run.value(b))}")
    m = g[0].moments, x[0].moments
    terms = (m,) if run.tied and m[0].field is None and m[1].field is None else ()
    return ParameterGradient(weight_gradients.of_weight(*m, run.batch), terms)


def _is_sampled(run: Interpreter, a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether a product is had of samples: one of two signals, or of data that mix examples, and what comes back of it.

    Of c = a b, [m, k] and [k, n], these are c' b^T and a^T c', or their transposes; the gradient of a weight of the
    same sizes may be had of samples as well.
    """
    values, (m, k, n) = [run.value(t) for t in (a, b)], (*a.shape, b.shape[1])
    if run.backward:
        back = {(m, n, k), (k, m, n), (n, m, k), (k, n, m), (n, k, m)}
        return any(isinstance(v, Draws) for v in values) and not back.isdisjoint(run.products)
    if not any(isinstance(v, Draws | Signal) for v in values):
        return False
    examples = run.batch.size
    if not run.batch.each_drawn and (k % examples == 0 or (m == n and m % examples == 0)):
        run.meets_all = True  # all examples meet all, where samples have copies of some
        return False
    run.products.add((m, k, n))
    return True


def _kind(value: Value) -> str:
    return {Fill: "a parameter", Unknown: "something unknown"}.get(type(value), type(value).__name__.lower())


for rule in (matmul, addmm, batched):
    rule.weighs = True  # type: ignore[attr-defined]  # numbers of one draw are a weight there
RULES: dict[Any, Rule] = {aten.mm: matmul, aten.addmm: addmm}
