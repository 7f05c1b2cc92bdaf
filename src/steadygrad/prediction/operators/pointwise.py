"""Pointwise operators: run on the quadrature nodes of the one Gaussian source that their arguments are functions of.

Any operator whose arguments are functions of one source needs no rule of its own, so a hand-written SiLU is exact. A
backward operator, or a product, is linear in the gradient that comes in: it runs on that gradient's factor. Exact for
a Gaussian source; the gradient is taken as independent of the source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import hermite
from steadygrad.prediction.axes import EXAMPLE, roles
from steadygrad.prediction.draws import BUDGET, FEWEST_DRAWS, draws_of, draws_within, leading, shortened
from steadygrad.prediction.gradients import backward
from steadygrad.prediction.interpreter import Call, Interpreter, Rule, numbers, sampled
from steadygrad.prediction.kinship import Function, Sum
from steadygrad.prediction.law import law_of, values_of
from steadygrad.prediction.met_by_kin import met_by_kin
from steadygrad.prediction.normal import taken_as_gaussian
from steadygrad.prediction.outside import inside
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import ONE, Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import (
    Concrete,
    Cropped,
    Draws,
    Fill,
    Level,
    LikelihoodGradient,
    Likelihoods,
    Moments,
    ParameterGradient,
    Residue,
    ScoreGradient,
    Scores,
    Signal,
    Unknown,
    Value,
    worst,
)

from .by_parts import by_parts
from .crops import on_crops
from .levels import levelled
from .parameters import are_fills, of_fills
from .positions import spread_out
from .reparametrized import on_from_a_weight

aten = torch.ops.aten

FORWARD = (
    aten.relu, aten.relu_, aten.leaky_relu, aten.leaky_relu_, aten._prelu_kernel, aten.elu, aten.elu_, aten.celu,
    aten.selu, aten.gelu, aten.silu, aten.silu_, aten.mish, aten.sigmoid, aten.sigmoid_, aten.tanh, aten.tanh_,
    aten.softplus, aten.erf, aten.erf_, aten.exp, aten.sin, aten.cos, aten.abs, aten.square, aten.pow, aten.sqrt,
    aten.rsqrt, aten.log, aten.log1p, aten.expm1, aten.neg, aten.reciprocal, aten.clamp, aten.clamp_min, aten.clamp_max,
    aten.hardtanh, aten.hardsigmoid, aten.hardswish, aten.threshold, aten.softshrink, aten.hardshrink, aten.relu6,
    aten.log_sigmoid_forward, aten.gt, aten.ge, aten.lt, aten.le, aten.sign, aten.sgn, aten.maximum, aten.minimum,
    aten.where, aten.masked_fill, aten.masked_fill_, aten.logical_not, aten.atan, aten.sinh, aten.cosh, aten.floor,
    aten.round, aten.tan,
)  # fmt: skip
BACKWARD = (
    aten.threshold_backward, aten.leaky_relu_backward, aten.elu_backward, aten.gelu_backward, aten.silu_backward,
    aten.sigmoid_backward, aten.tanh_backward, aten.softplus_backward, aten.hardtanh_backward, aten.mish_backward,
    aten.hardsigmoid_backward, aten.hardswish_backward, aten.softshrink_backward, aten.hardshrink_backward,
    aten.log_sigmoid_backward, aten._prelu_kernel_backward,
)  # fmt: skip
HUGE = 1e60  # larger values beyond the nodes are as good as none: their squares would overflow
BY_GRADIENT = (aten.log_sigmoid_backward,)  # what takes the shape of its outcome from the gradient alone
LINEAR = {
    *BACKWARD, aten.neg, aten.mul, aten.mul_, aten.div, aten.div_, aten.add, aten.add_, aten.sub, aten.sub_, aten.rsub,
    aten.where, aten.masked_fill, aten.masked_fill_,
}  # fmt: skip


def pointwise(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """f(x, y, ...) of functions of one source, or of samples."""
    values = {id(t): spread_out(run, t, run.value(t)) for t in call.tensors}
    if any(t.is_complex() for t in (*call.tensors, *call.outs)):
        return run.lost(f"{call.name} of complex numbers")
    if are_fills(list(values.values())):
        return of_fills(run, call, values if _aligned(run, call) else _as_others(run, values))
    if any(isinstance(v, Draws | Cropped) or _is_data(v) for v in values.values()) or _starts(run, call, values):
        return on_draws(run, call)
    known = _gaussian(run, call, values)
    values = _settled(known)
    signals = [v for v in values.values() if isinstance(v, Signal)]
    sources = {id(s): s for v in signals if v.wave and (s := v.wave.source)}
    bases = {id(v.base): v.base for v in signals if v.base is not None}
    if len(sources) > 1 or len(bases) > 1 or len(signals) + _constants(values) < len(values) or not _aligned(run, call):
        return _of_several(run, call)
    if bases and call.operator.overloadpacket not in LINEAR:
        return run.lost(f"{call.name} of a gradient")
    found = _on_nodes(run, call, values, next(iter(sources.values()), None), next(iter(bases.values()), None))
    return _among_kin(run, found, known, values) if bases and len(signals) > 1 and not run.tied else found


def _starts(run: Interpreter, call: Call, values: dict[int, Value]) -> bool:
    """Whether a gradient of a function of a signal starts here, from that of a sum: it lies along that signal."""
    sent = any(isinstance(v, Fill) and v.variance == 0 and v.source in run.sent_back for v in values.values())
    free = any(isinstance(v, Signal) and v.base is None for v in values.values())
    return sent and free and call.outs[0].numel() > 1


def _among_kin(
    run: Interpreter, found: Value | tuple[Value, ...], known: dict[int, Value], settled: dict[int, Value]
) -> Value | tuple[Value, ...]:
    """A gradient that was settled as one of its own, where its source and the one at hand have something in common."""
    for key, v in known.items():
        if v is settled[key] or not isinstance(v, Signal) or not isinstance(found, Signal) or found.wave is None:
            continue
        of_product = v.wave is not None and v.wave.source is not None and v.wave.source.factors is not None
        if v.base is not None and v.wave is not None and not of_product:  # of which `to_factor` says what kin would
            m = met_by_kin(found.moments, v.base, v.wave, found.wave, run.kinship, run.batch)
            found = replace(found, moments=m)
    return found


def _aligned(run: Interpreter, call: Call) -> bool:
    """Whether views of one memory meet entry by entry, and not each entry of the one many of the other."""
    seen: dict[int, tuple[int, ...]] = {}
    for t in call.tensors:
        if t.numel() > 1:
            held = tuple(s if n > 1 else 0 for n, s in zip(t.shape, t.stride(), strict=True))
            held = (0,) * (call.outs[0].dim() - len(held)) + held
            if seen.setdefault(t.untyped_storage()._cdata, held) != held:
                return False
    return True


def _as_others(run: Interpreter, values: dict[int, Value]) -> dict[int, Value]:
    """A parameter that meets itself in another order, such as its transpose, counts as another draw of its law."""
    seen: set[int] = set()
    others: dict[int, Value] = {}
    for key, v in values.items():
        again = isinstance(v, Fill) and v.source in seen
        others[key] = replace(v, source=run.new_fill(), mark="approximate") if again and isinstance(v, Fill) else v
        seen |= {v.source} if isinstance(v, Fill) else set()
    return others


def _of_several(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Of functions of several pre-activations: taken apart, or on samples."""
    said = len(run.unknown)
    found = run.rules["taken apart"](run, call)
    if not isinstance(found, Unknown):
        return found
    del run.unknown[said:]
    return run.lost(f"{call.name} of tensors that are no functions of one pre-activation")


def _gaussian(run: Interpreter, call: Call, values: dict[int, Value]) -> dict[int, Value]:
    """A signal that is no function of one source is taken as Gaussian with its moments."""
    units = max(call.tensors[0].numel() // run.batch.size, 1)
    return {
        key: taken_as_gaussian(v, units, run.batch)
        if isinstance(v, Signal) and v.wave is None and v.base is None
        else v
        for key, v in values.items()
    }


def _settled(values: dict[int, Value]) -> dict[int, Value]:
    """A gradient that came through another source than the one at hand counts as a gradient of its own."""
    here = {id(v.wave.source) for v in values.values() if isinstance(v, Signal) and v.base is None and v.wave}
    return {key: _own(v) if isinstance(v, Signal) and here and _is_foreign(v, here) else v for key, v in values.items()}


def _is_foreign(v: Signal, here: set[int]) -> bool:
    return v.base is not None and v.wave is not None and v.wave.source is not None and id(v.wave.source) not in here


def _own(v: Signal) -> Signal:
    return Signal(v.moments, None, v.moments, v.ancestors, None, v.mark)


def _is_data(value: Value) -> bool:
    return isinstance(value, Concrete) and value.tensor.numel() > 1


def _constants(values: dict[int, Value]) -> int:
    return sum(isinstance(v, Concrete) or (isinstance(v, Fill) and v.variance == 0) for v in values.values())


def _on_nodes(
    run: Interpreter, call: Call, values: dict[int, Value], source: Source | None, base: Moments | None
) -> Value | tuple[Value, ...]:
    writes = call.operator._schema.is_mutable
    shape = source.nodes.shape if source is not None and call.operator.overloadpacket in BY_GRADIENT else (1, 1)
    if writes:  # what is written to holds the outcome, on all nodes
        shape = np.broadcast_shapes(*(np.shape(_node_values(v)) for v in values.values()))
    out = call.substituted(lambda t: _broadcast(_on_its_nodes(values[id(t)], t.dtype, writes), shape))
    outs = out if isinstance(out, list | tuple) else (out,)
    if not all(_is_finite_within_reach(o) for o in outs):
        return run.lost(f"{call.name} is not finite on all of a Gaussian")
    signals = [v for v in values.values() if isinstance(v, Signal)]
    far = _beyond(call, values, source) if source is not None and source.lone and not writes else None
    waves = (Wave(source, _rows(o), far=None if far is None else far[i]) for i, o in enumerate(outs))
    built = tuple(_built(run, signals, wave, base) for wave in waves)
    return built if isinstance(out, list | tuple) else built[0]


def _beyond(call: Call, values: dict[int, Value], source: Source) -> list[Any] | None:
    """Return the outcomes beyond the nodes, where all that goes in is known there and all that comes out is finite."""
    known = {key: _far(v, source) for key, v in values.items()}
    if any(v is None for v in known.values()):
        return None
    shape = np.broadcast_shapes(*(v.shape for v in known.values()))
    if call.operator.overloadpacket not in BY_GRADIENT:
        shape = (1, 1)
    out = call.substituted(lambda t: _broadcast(_as(torch.from_numpy(known[id(t)]), t.dtype), shape))
    outs = [o.double().numpy() for o in (out if isinstance(out, list | tuple) else (out,))]
    return outs if all((abs(o) < HUGE).all() and o.shape[-1] == source.far.shape[-1] for o in outs) else None


def _far(value: Value, source: Source) -> Any:
    match value:
        case Signal(wave=Wave(source=Source()) as wave):
            return source.far if wave.gaussian else wave.far
        case _:
            return _node_values(value)


def _as(nodes: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return nodes.bool() if kind == torch.bool else nodes


def _is_finite_within_reach(out: torch.Tensor) -> bool:
    """Whether a function is finite on the nodes that carry weight: beyond, an overflow is one that no draw meets."""
    finite = out.isfinite() if out.is_floating_point() else torch.ones_like(out, dtype=torch.bool)
    weight = torch.from_numpy(hermite.tables()[1])
    return bool(finite.all()) or (out.shape[-1] == len(weight) and not bool((~finite & (weight > 1e-9)).any()))


def _rows(out: torch.Tensor) -> Any:
    values = out.double().numpy()
    return np.nan_to_num(values, nan=0.0, posinf=1e150, neginf=-1e150) if not np.isfinite(values).all() else values


def _broadcast(values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return values.expand(shape).contiguous() if shape != (1, 1) else values


def _on_its_nodes(value: Value, kind: torch.dtype, writes: bool) -> torch.Tensor:
    """Return the values on the nodes; where the operator writes, those of its own: others may hold the same ones."""
    return _as(torch.from_numpy(_node_values(value).copy() if writes else _node_values(value)), kind)


def _node_values(value: Value) -> Any:
    match value:
        case Fill(mean=number):
            return np.full((1, 1), number)
        case Concrete(tensor=data):
            return data.double().numpy().reshape(1, 1)
        case Signal(wave=Wave(values=values)):
            return values
        case _:
            return ONE.values


def _built(run: Interpreter, signals: list[Signal], wave: Wave, base: Moments | None) -> Signal:
    ancestors, mark = 0, worst(*(s.mark for s in signals))
    for signal in signals:
        ancestors |= signal.ancestors
    known = run.remembers
    origin = Function(wave.source, wave.values, base) if known and wave.source is not None else None
    if base is None:
        m = replace(forward(wave, run.batch, run.noises), origin=origin)
        return Signal(m, wave, ancestors=ancestors, mark=mark)
    met = run.leanings.of_function(wave.source, wave.values) if run.tied and wave.source is not None else {}
    favour = run.leanings.met(base, met) if met else 1.0
    moments = replace(backward(base, wave, run.batch, run.noises, favour), origin=origin)
    if known and origin is None:
        moments = replace(moments, origin=Sum(((base, float(wave.values.mean())),)))
    linear = signals[0].linear if wave.source is None else None
    balance = next((s.balance for s in signals if s.base is base), None)
    if balance is not None:
        moments = balance.told(moments, wave, run.batch)
    return Signal(moments, wave, base, ancestors, linear, mark, balance=balance)


KINDS: dict[type, str] = {
    Scores: "products of two signals",
    ScoreGradient: "the gradient of such products",
    Likelihoods: "log-probabilities that are too many",
    LikelihoodGradient: "the gradient of log-probabilities that are too many",
    Level: "a level",
    Residue: "what goes back through a level",
    ParameterGradient: "the gradient of a parameter",
}


def on_draws(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Run the operator on every draw; a signal, or a parameter, among its arguments is drawn first."""
    known = {id(t): (t, run.value(t)) for t in call.tensors}
    if any(isinstance(v, Cropped) for _, v in known.values()):
        return on_crops(run, call) or run.lost(f"{call.name} of samples of a part")
    other = next((v for _, v in known.values() if not isinstance(v, Draws | Signal | Fill | Concrete)), None)
    if other is not None:
        return run.lost(f"{call.name} of {KINDS.get(type(other), 'something')} that cannot be sampled")
    moving = {key: (t, v) for key, (t, v) in known.items() if isinstance(v, Draws | Signal) or _is_drawn(v)}
    if not moving:
        return Concrete(call.substituted(lambda t: numbers(run.value(t), t)))
    if all(isinstance(v, Fill) for _, v in moving.values()):
        return run.lost(f"{call.name} of parameters alone")
    entries = max([t.numel() for t, _ in moving.values()] + [t.numel() for t in call.outs])
    count = min([draws_within(BUDGET, entries), *(len(v.values) for _, v in moving.values() if isinstance(v, Draws))])
    drawn = {key: _drawn(run, t, v, count) for key, (t, v) in moving.items()}
    draws = {key: v for key, v in drawn.items() if v is not None}
    if len(draws) < len(drawn):
        return on_crops(run, call) or run.lost(f"{call.name} of a tensor that cannot be sampled")
    outs = sampled(call, run, draws)
    like = leading(list(draws.values()))
    if isinstance(outs[0], list | tuple):
        return tuple(_stacked(like, [o[i] for o in outs]) for i in range(len(outs[0])))
    return _stacked(like, outs)


def _is_drawn(value: Value) -> bool:
    return isinstance(value, Fill) and value.variance > 0


def _drawn(run: Interpreter, tensor: torch.Tensor, value: Value, count: int) -> Draws | None:
    """So many samples of a tensor; None where it cannot be sampled."""
    match value:
        case Draws() if count >= FEWEST_DRAWS:
            return shortened(value, count)
        case Signal():
            return samples_of(run, tensor, value, count)
        case Fill() if count >= FEWEST_DRAWS:
            rng = np.random.default_rng((1, value.source))
            samples = rng.choice(values_of(value), size=(count, *tensor.shape), p=law_of(value).weights)
            none = torch.zeros(count, run.batch.size, 1)
            return Draws(torch.from_numpy(samples).float(), np.zeros(count), CERTAIN, none, 1 << value.source)
        case _:
            return None


def samples_of(run: Interpreter, tensor: torch.Tensor, value: Signal, count: int) -> Draws | None:
    """Samples of a signal, of a view whose examples come later too."""
    dims, seeds = run.dims(tensor, value), run.drawn.seeds
    place = next((i for i, dim in enumerate(dims) if EXAMPLE in roles(dim)), 0)
    order = (place, *(i for i in range(len(dims)) if i != place))
    with inside(run.fake):
        view = tensor.permute(order) if place else tensor
    dims = tuple(dims[i] for i in order)
    found = draws_of(value, view, dims, count=count, seeds=seeds, batch=run.batch, noises=run.noises)
    if found is None or not place:
        return found
    return replace(found, values=found.values.movedim(1, place + 1), root=found.root.movedim(1, place + 1))


def _stacked(like: Draws, outs: list[torch.Tensor]) -> Draws:
    return replace(like, values=torch.stack(outs))


RULE = by_parts(on_from_a_weight(levelled(pointwise)))
RULES: dict[Any, Rule] = dict.fromkeys((*FORWARD, *BACKWARD), RULE)
