"""Attention: fused, or written out as two products with a softmax between them (attention.py says what is assumed).

Written out, the product of queries and keys is known as scores, with the scale, mask and dropout that they went
through, until they meet the values; going back the same way.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction import drawn_heads, of_mean
from steadygrad.prediction.attention import Attention, raised_to, tokens
from steadygrad.prediction.axes import EXAMPLE, FEATURE, Axis, roles
from steadygrad.prediction.drawn_heads import averaged
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.reach import Reach, masked, unmasked
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import Concrete, Fill, Moments, ScoreGradient, Scores, Signal, Statistic, Value

from .fills import argument
from .likeness import like
from .linear import batched
from .positions import Dims, axes_of, features, laid_out

aten = torch.ops.aten
VALUES = 2  # of queries, keys and values
SMALLEST = -1e4  # what is added to a logit that is masked is at most this


def _positioned(run: Interpreter, tensor: torch.Tensor, row: int) -> tuple[Signal, Dims] | None:
    """Return queries, keys or values over their positions; None where these are the examples."""
    found = laid_out(run, tensor, (row % tensor.dim(),))
    if found is None or EXAMPLE in roles(found[1][row]) or (found[1][row] == () and tensor.shape[row] > 1):
        return None
    return found


def _as_tokens(x: Signal) -> Moments:
    """Return the moments of values whose units' squares vary as products of their tokens let them.

    What the fourth cumulant of the weights takes from that is no matter of the tokens.
    """
    source = x.wave.source if x.wave is not None else None
    m = x.moments
    return m if source is None else replace(m, unit_variance=max(m.unit_variance - source.tails, 0.0))


def _attended(run: Interpreter, how: Attention, v: Signal, dims: Dims, ancestors: int, out: torch.Tensor) -> Signal:
    m = how.forward(_as_tokens(v), run.batch)
    units = features(out, dims, run.batch.size)
    m = _with_noise(run, m, v, how, units)
    source = gaussian(m, units, run.batch)
    wave = Wave(source, source.nodes, gaussian=True)
    linear = v.linear if how.reach.all_keys else None
    whole = Signal(m, wave, None, v.ancestors | ancestors, linear, "approximate", axes_of(run, dims, out))
    return like(whole, v) if run.remembers else whole


def _with_noise(run: Interpreter, m: Moments, v: Signal, how: Attention, units: int) -> Moments:
    """Return means over positions with what the draws of heads add: a few positions have most of what comes out.

    What values of a layer that makes queries and keys as well have of its draw is that of all of its units.
    """
    assert m.field is not None
    examples, before = run.batch.size, v.moments.unit_variance
    along = how.along_the_mean(v.moments)
    source = v.wave.source if v.wave is not None else None
    whole = max(source.of if source else units, units)
    known = tokens(_as_tokens(v), run.batch, 2 / whole)
    varied, pair = drawn_heads.forward(how.heads, known, along)
    own, fewer = averaged(pair, examples), 1 / units - 1 / whole
    drawn = 1 - v.moments.field.given if v.moments.field else 1.0
    noise = run.noises.fresh(varied.variance(examples, units / how.width, drawn))
    spread, mean = of_mean.of_a_part(v.moments, fewer, before, examples, run.noises)
    field = raised_to(m.field, own / 2 / max(run.batch.overlap(m), 1e-300), examples)
    m = replace(m, unit_variance=own, field=field)
    if mean is not None:
        slope, left = how.of_mean(v.moments)
        fresh = run.noises.fresh(2 * left / min(known.features, units) / examples).centred
        mean = spread.centred.plus(of_mean.beside(mean, spread).scaled(slope)).plus(fresh)
    return _going_with_the_mean(m, spread, mean, along, noise, run)


def _going_with_the_mean(
    m: Moments, before: Spread, mean: Spread | None, along: float, noise: Spread, run: Interpreter
) -> Moments:
    """Return sums over positions whose size goes with that of the mean of all, beside their own noise.

    `before` is the log of the size of one position, `mean` that of the mean, which weights that add to one keep.
    """
    if mean is None or m.field is None:
        return replace(m, spread=before.plus(noise))
    spread = of_mean.with_less(before, of_mean.beside(mean, before).scaled(along), run.noises).plus(noise)
    return replace(m, spread=spread, field=replace(m.field, of_mean=of_mean.beside(mean, spread)))


def _fused_inputs(run: Interpreter, tensors: Any) -> tuple[list[tuple[Signal, Dims]], Any] | None:
    found = [_positioned(run, t, -2) for t in tensors]
    return None if any(f is None for f in found) else ([f for f in found if f], None)


def _how(run: Interpreter, call: Call, found: list[tuple[Signal, Dims]], tensors: Any) -> Attention | None:
    queries, keys, width = tensors[0].shape[-2], tensors[1].shape[-2], tensors[0].shape[-1]
    mask = argument(call, "attn_mask", argument(call, "attn_bias"))
    reach: Reach | None = unmasked(queries, keys, bool(argument(call, "is_causal", False)))
    if mask is not None:
        allowed = _allowed(run.value(mask), mask)
        reach = masked(allowed, queries, keys) if allowed is not None else None
    if reach is None:
        return None
    scale = argument(call, "scale") or width**-0.5
    kept = 1 - float(argument(call, "dropout_p", 0.0))
    return Attention(found[0][0].moments, _as_tokens(found[1][0]), width, reach, scale, kept)


def _allowed(value: Value, tensor: torch.Tensor) -> torch.Tensor | None:
    """Return which keys a mask allows, from True and False or from numbers that are added; these, where they count."""
    match value:
        case Concrete(tensor=known):
            if known.dtype != torch.bool and bool(((known > SMALLEST) & (known != 0)).any()):
                return known.clamp(min=2 * SMALLEST)  # numbers that count, beside those that mask
            return known if known.dtype == torch.bool else known > SMALLEST
        case Fill(mean=number, variance=0.0):
            allowed = bool(number) if tensor.dtype == torch.bool else number > SMALLEST
            return torch.full((1, 1), allowed).expand(tensor.shape[-2:])
        case _:
            return None


def fused(run: Interpreter, call: Call) -> tuple[Value, ...]:
    """Scaled dot product attention in one operator."""
    tensors = call.args[:3]
    found = _fused_inputs(run, tensors)
    how = _how(run, call, found[0], tensors) if found else None
    if found is None or how is None:
        lost = run.lost(
            f"{call.name} over the examples, of something that is no signal, or with a mask that is not known"
        )
        return (lost,) * len(call.out)
    (q, dims), (k, _), (v, _) = found[0]
    outcome = (*dims[:-1], (Axis(FEATURE, call.out[0].shape[-1], 1),))
    whole = _attended(run, how, v, outcome, q.ancestors | k.ancestors, call.out[0])
    return whole, *(Statistic(0.0, CERTAIN),) * (len(call.out) - 1)  # what is kept for the way back


def fused_backward(run: Interpreter, call: Call) -> tuple[Value, ...]:
    """The gradients of queries, keys and values."""
    tensors, g = call.args[1:4], _positioned(run, call.args[0], -2)
    found = _fused_inputs(run, tensors)
    how = _how(run, call, found[0], tensors) if found else None
    if found is None or how is None or g is None:
        lost = run.lost(f"{call.name} of something that is no gradient")
        return (lost,) * len(call.out)
    gradient, v = g[0].moments, _as_tokens(found[0][VALUES][0])
    positions = v.field.sizes if v.field else (how.reach.all_keys,)
    units = features(call.out[2], found[0][2][1], run.batch.size)
    into = (
        how.to_queries(gradient, v, how.scale, run.batch),
        how.to_keys(gradient, v, how.scale, run.batch),
        how.to_values(gradient, positions, run.batch),
    )
    drawn = [_going_back(run, how, m, (v, gradient), i, units) for i, m in enumerate(into)]
    *others, values = (
        _gradient(run, m, dims, g[0].ancestors, out)
        for m, (_, dims), out in zip(drawn, found[0], call.out, strict=False)
    )
    return *others, like(values, g[0]) if run.remembers else values


def _going_back(
    run: Interpreter, how: Attention, m: Moments, met: tuple[Moments, Moments], which: int, units: int
) -> Moments:
    """Return the gradient of queries, keys or values with what draws of heads add; `met`: tokens and gradient."""
    along, left = how.back_along_the_mean(met[1], m)
    x, g = (tokens(part, run.batch) for part in met)
    varied = drawn_heads.backward(how.heads, x, g, along)[which]
    if which == VALUES and left is not None:
        varied = replace(varied, tokens=(2 * left / g.features, 0.0))
    noise = run.noises.fresh(varied.variance(run.batch.size, units / how.width))
    mean = of_mean.followed(met[1])
    if which == VALUES:
        return _going_with_the_mean(m, m.spread, mean, along, noise, run)
    field = m.field and replace(m.field, of_mean=None if mean is None else CERTAIN)
    return replace(m, spread=m.spread.plus(noise), field=field)


def _gradient(run: Interpreter, m: Moments, dims: Dims, ancestors: int, out: torch.Tensor) -> Signal:
    return Signal(m, None, m, ancestors, None, "approximate", axes_of(run, dims, out))


def product(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A batch of products: of queries and keys, of weights and values, and their gradients; else of a parameter."""
    a, b = call.args[:2]
    left, right = run.value(a), run.value(b)
    match left, right:
        case Scores(), Signal(base=None):
            return _weighted(run, call, left, b)
        case Scores(), Signal():
            return _to_values(run, call, left, b)
        case ScoreGradient(), Signal():
            return _to_queries(run, call, left, a, b)
        case Signal(), ScoreGradient():
            return _to_keys(run, call, right, a, b)
        case Signal(), Signal() if left.base is None and right.base is None:
            return _scores(run, call, a, b)
        case Signal(), Signal() if left.base is not None and right.base is None:
            return _score_gradient(run, call, a, b)
        case _:
            return batched(run, call)


def _scores(run: Interpreter, call: Call, a: torch.Tensor, b: torch.Tensor) -> Value:
    q, k = _positioned(run, a, 1), _positioned(run, b, 2)
    if q is None or k is None or a.dim() != 3 or roles(q[1][2]) - {FEATURE} or roles(k[1][1]) - {FEATURE}:
        return run.lost(f"{call.name} of two signals that are no queries and keys")
    reach = unmasked(a.shape[1], b.shape[2], False)
    how = Attention(q[0].moments, _as_tokens(k[0]), a.shape[2], reach)
    return Scores(how, q[0].ancestors | k[0].ancestors)


def _weighted(run: Interpreter, call: Call, scores: Scores, b: torch.Tensor) -> Value:
    v = _positioned(run, b, 1)
    if v is None or not scores.weights:
        return run.lost(f"{call.name} of logits without a softmax, or of something that is no signal")
    x, dims = v
    positions = scores.how.query.field.sizes if scores.how.query.field else (call.out.shape[1],)
    return _attended(run, scores.how, x, (dims[0], _grid(positions), dims[2]), scores.ancestors, call.out)


def _to_values(run: Interpreter, call: Call, scores: Scores, b: torch.Tensor) -> Value:
    g = _positioned(run, b, 1)
    if g is None or not scores.weights:
        return run.lost(f"{call.name} of something that is no gradient")
    key = scores.how.key.field
    positions = key.sizes if key else (call.out.shape[1],)
    m, units = scores.how.to_values(g[0].moments, positions, run.batch), features(b, g[1], run.batch.size)
    m = _going_back(run, scores.how, m, (scores.how.key, g[0].moments), 2, units)
    whole = _gradient(run, m, (g[1][0], _grid(positions), g[1][2]), g[0].ancestors, call.out)
    return like(whole, g[0]) if run.remembers else whole


def _grid(positions: tuple[int, ...]) -> tuple[Axis, ...]:
    step, found = 1, []
    for role in reversed(range(len(positions))):
        found.append(Axis(role, positions[role], step))
        step *= positions[role]
    return tuple(found)


def _score_gradient(run: Interpreter, call: Call, a: torch.Tensor, b: torch.Tensor) -> Value:
    g, v = _positioned(run, a, 1), _positioned(run, b, 2)
    if g is None or v is None:
        return run.lost(f"{call.name} of something that is no gradient and no values")
    return ScoreGradient(g[0].moments, _as_tokens(v[0]), a.shape[2], g[0].ancestors)


def _to_queries(run: Interpreter, call: Call, gradient: ScoreGradient, a: torch.Tensor, b: torch.Tensor) -> Value:
    k = _positioned(run, b, 1)
    if k is None or gradient.how is None:
        return run.lost(f"{call.name} of a gradient of weights without their softmax")
    m = gradient.how.to_queries(gradient.gradient, gradient.value, gradient.factor, run.batch)
    met, units = (gradient.value, gradient.gradient), features(b, k[1], run.batch.size)
    m = _going_back(run, gradient.how, m, met, 0, units)
    positions = m.field.sizes if m.field else (a.shape[1],)
    return _gradient(run, m, (k[1][0], _grid(positions), k[1][2]), gradient.ancestors, call.out)


def _to_keys(run: Interpreter, call: Call, gradient: ScoreGradient, a: torch.Tensor, b: torch.Tensor) -> Value:
    q = _positioned(run, a, 2)
    if q is None or gradient.how is None:
        return run.lost(f"{call.name} of a gradient of weights without their softmax")
    m = gradient.how.to_keys(gradient.gradient, gradient.value, gradient.factor, run.batch)
    met, units = (gradient.value, gradient.gradient), features(a, q[1], run.batch.size)
    m = _going_back(run, gradient.how, m, met, 1, units)
    positions = m.field.sizes if m.field else (b.shape[2],)
    return _gradient(run, m, (q[1][0], q[1][1], _grid(positions)), gradient.ancestors, call.out)


def softmax(rule: Rule) -> Rule:
    """Return the rule with scores provided for: over the keys they become weights."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        value = run.value(call.args[0])
        if not isinstance(value, Scores):
            return rule(run, call)
        if call.args[1] % call.args[0].dim() != call.args[0].dim() - 1 or value.weights:
            return run.lost(f"{call.name} over the queries")
        return replace(value, weights=True)

    return ruled


def softmax_backward(rule: Rule) -> Rule:
    """Return the rule with the gradient of weights provided for."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        value, weights = run.value(call.args[0]), run.value(call.args[1])
        if not isinstance(value, ScoreGradient) or not isinstance(weights, Scores):
            return rule(run, call)
        return replace(value, how=weights.how)

    return ruled


def scored(rule: Rule) -> Rule:
    """Return a pointwise rule with scores provided for: numbers scale them, masks take keys out, dropout thins them."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        found = next((t for t in call.tensors if isinstance(run.value(t), Scores | ScoreGradient)), None)
        if found is None:
            return rule(run, call)
        value, changed = run.value(found), None
        if isinstance(value, Scores):
            changed = _rescored(run, call, value, found)
        elif isinstance(value, ScoreGradient):
            changed = _regraded(run, call, value)
        return changed or run.lost(f"{call.name} of attention scores")

    return ruled


def _rescored(run: Interpreter, call: Call, value: Scores, tensor: torch.Tensor) -> Value | None:
    operator, how = call.operator.overloadpacket, value.how
    others = [(t, run.value(t)) for t in call.tensors if t is not tensor]
    factor = _factor(run, call)
    if factor is not None and not value.weights:
        return replace(value, how=replace(how, scale=how.scale * factor))
    added, common = _added(run, operator, others)
    if added and not value.weights:
        how = replace(how, added=how.added + added, common=how.common + common)
        return replace(value, how=how)
    mask = _mask(operator, others)
    if mask is not None and not value.weights:
        return replace(value, how=replace(how, reach=masked(mask, how.reach.queries, how.reach.all_keys)))
    match others:
        case [(_, Fill() as noise)] if value.weights and noise.variance > 0 and operator in PRODUCTS:
            kept = noise.mean**2 / (noise.mean**2 + noise.variance)
            return replace(value, how=replace(how, kept=how.kept * kept))
    return value if factor == 1.0 else None


def _added(run: Interpreter, operator: Any, others: list[tuple[torch.Tensor, Value]]) -> tuple[float, float]:
    """Return the variance over keys of what is added to logits, and how much of it two examples share; 0 where nothing.

    That is a parameter, the same for all examples, or a signal, such as what queries have of positions.
    """
    match others[0][1] if others and operator in (aten.add, aten.add_) else None:
        case Fill(variance=variance):
            return variance, variance
        case Signal(moments=m, base=None):
            own = float((m.q - m.mean**2).mean())
            apart = run.batch.distinct_mean(m.d) if len(m.q) > 1 else 0.0
            return own, max(own - apart, 0.0)
        case _:
            return 0.0, 0.0


def _factor(run: Interpreter, call: Call) -> float | None:
    """Return the number that all scores are multiplied by."""
    operator, numbers = call.operator.overloadpacket, []
    if operator not in PRODUCTS:
        return None
    for arg in call.args[:2]:
        value = run.value(arg) if isinstance(arg, torch.Tensor) else arg
        match value:
            case int() | float():
                numbers.append(float(value))
            case Fill(mean=mean, variance=0.0):
                numbers.append(mean)
            case Concrete(tensor=data) if data.numel() == 1:
                numbers.append(float(data))
    if len(numbers) != 1:
        return None
    return 1 / numbers[0] if operator in (aten.div, aten.div_) else numbers[0]


def _mask(operator: Any, others: list[tuple[torch.Tensor, Value]]) -> torch.Tensor | None:
    """Return which keys are allowed: by what is added, filled in, or put in their place."""
    if not others:
        return None
    tensor, value = others[0]
    allowed = _allowed(value, tensor)
    if allowed is None or operator in PRODUCTS:
        return None
    if operator not in (aten.masked_fill, aten.masked_fill_):
        return allowed
    return ~allowed if allowed.dtype == torch.bool else None


def _regraded(run: Interpreter, call: Call, value: ScoreGradient) -> Value | None:
    """The gradient of scores: masked entries have none already; numbers scale it; dropout is counted going forward."""
    operator = call.operator.overloadpacket
    if operator in (aten.masked_fill, aten.masked_fill_, aten.where):
        return value
    factor = _factor(run, call)
    if factor is not None:
        return replace(value, factor=value.factor * factor)
    return value if operator in PRODUCTS else None


PRODUCTS = (aten.mul, aten.mul_, aten.div, aten.div_)
FUSED = (
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention",
)  # fmt: skip
RULES: dict[Any, Rule] = {
    **{getattr(aten, name): fused for name in FUSED},
    aten._scaled_dot_product_flash_attention_for_cpu_backward: fused_backward,
    aten.bmm: product,
}
