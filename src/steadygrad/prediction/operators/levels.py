"""Levels: one number for each example, as the mean or the variance over many features is, and what is done with them.

So a norm that is written out by hand is followed. Approximate: a mean over n features is taken as its expectation for
the example, which holds up to 1/n; backward, what comes through the level is one direction of n, and is taken out.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction.gram import forgotten
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import scaled
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import Array, Concrete, Draws, Fill, Level, Moments, Residue, Signal, Value

from .attention import scored
from .positions import alike

aten = torch.ops.aten
STEP = 1e-4
PRODUCTS = (aten.mul, aten.mul_, aten.div, aten.div_)
SUMS = (aten.add, aten.add_, aten.sub, aten.sub_)


def levelled(rule: Rule) -> Rule:
    """Return the rule with levels among its arguments provided for."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        values = [run.value(t) for t in call.tensors]
        if any(isinstance(v, Residue) for v in values):
            return _residue(call, values)
        if not any(isinstance(v, Level) for v in values):
            return rule(run, call)
        if not any(isinstance(v, Signal) for v in values):
            return _of_levels(run, call, values)
        return _with_signal(run, call, values)

    return scored(alike(ruled))


def _residue(call: Call, values: list[Value]) -> Value:
    """Beside a gradient a direction of n that is taken out of it; alone still one."""
    small = next(v for v in values if isinstance(v, Residue))
    whole = next((v for v in values if isinstance(v, Signal) and v.base is not None), None)
    drawn = next((v for v in values if isinstance(v, Draws)), None)
    if whole is None or call.operator.overloadpacket not in SUMS:
        return drawn if drawn is not None and call.operator.overloadpacket in SUMS else small
    kept, m = 1 - 1 / small.entries, whole.moments
    m = replace(m, q=m.q * kept, d=m.d * kept)
    return Signal(m, None, m, whole.ancestors, whole.linear, "approximate", whole.axes)


def _of_levels(run: Interpreter, call: Call, values: list[Value]) -> Value:
    """A function of levels: its numbers, and how its log moves with theirs."""
    if not all(isinstance(v, Level) or _number(v) is not None for v in values):
        return run.lost(f"{call.name} of a level and something else")
    known = dict(zip(map(id, call.tensors), values, strict=True))
    plain = _evaluated(call, known, None)
    spread, ancestors, power, noise = CERTAIN, 0, 1.0, 0.0
    places: Array | None = None
    for key, level in known.items():
        if isinstance(level, Level):
            moved = _evaluated(call, known, key)
            slope = _slope(plain, moved)
            spread = spread.plus(level.spread.scaled(slope) if slope else CERTAIN)
            power, noise = level.power * slope, max(noise, level.noise)
            ancestors |= level.ancestors
            places = places if level.places is None else level.places**slope
    return Level(plain, spread, ancestors, power, noise, places)


def _slope(plain: Array, moved: Array) -> float:
    """Return by which power of a level its function grows; 0 where it has no sign."""
    return float(np.log(moved / plain).mean() / np.log1p(STEP)) if (plain * moved > 0).all() else 0.0


def _evaluated(call: Call, known: dict[int, Value], moved: int | None) -> Array:
    out = call.substituted(lambda t: _numbers(known[id(t)], id(t) == moved))
    return np.asarray(out.double().numpy())


def _numbers(value: Value, moved: bool) -> torch.Tensor:
    if isinstance(value, Level):
        return torch.from_numpy(value.values * (1 + STEP if moved else 1.0))
    number = _number(value)
    assert number is not None
    return torch.tensor(number, dtype=torch.float64)


def _number(value: Value) -> float | None:
    match value:
        case Fill(mean=mean, variance=0.0):
            return mean
        case Concrete(tensor=data) if data.numel() == 1:
            return float(data)
        case _:
            return None


def _with_signal(run: Interpreter, call: Call, values: list[Value]) -> Value:
    operator = call.operator.overloadpacket
    if len(values) != 2 or operator not in PRODUCTS + SUMS:
        return run.lost(f"{call.name} of a signal and a level")
    first = isinstance(values[0], Signal)
    x, level = values if first else reversed(values)
    assert isinstance(x, Signal)
    assert isinstance(level, Level)
    if operator in PRODUCTS:
        if operator in (aten.div, aten.div_):
            if not first:
                return run.lost(f"{call.name} of a level by a signal")
            level = _inverse(level)
        m = _by_place(_stretched(x.moments, level), level.places)
        if x.base is not None:  # what goes forward is what the level was taken of
            further = max(own_share(x.moments.spread, level.spread.scaled(2.0), run) - math.log(level.favour), 0.0)
            m = scaled(replace(m, spread=m.spread.shifted(further)), level.favour**0.5)
        return _shaped(run, call, x, m, level, lambda v: v * level.values[:, None])
    sign = -1.0 if operator in (aten.sub, aten.sub_) else 1.0
    if not first or call.kwargs.get("alpha", 1) != 1:
        return run.lost(f"{call.name} of a level and a signal")
    return _shaped(
        run, call, x, _shifted(x.moments, sign * level.values), level, lambda v: v + sign * level.values[:, None]
    )


def _inverse(level: Level) -> Level:
    places = None if level.places is None else 1 / level.places
    return replace(level, values=1 / level.values, spread=level.spread.scaled(-1.0), power=-level.power, places=places)


def _by_place(m: Moments, places: Array | None) -> Moments:
    """Return moments with each position times what its own level is of the mean one."""
    if places is None:
        return m
    if m.field is None or m.field.sizes != places.shape:  # alike at all positions: what becomes of them on average
        return scaled(m, float((places**2).mean()) ** 0.5)
    field, size = m.field.times(places**2)
    return replace(scaled(m, size**0.5), field=field)


def own_share(g: Spread, divided: Spread, run: Interpreter) -> float:
    """Return what the log of a mean gains where each example is divided by its own variance: the power -1 of a curve.

    Of a variance v that examples' log sizes have of their own, ½ v (1 - Σ w²) for the weights of the sizes, as much for
    those of the gradient, and their covariance.
    """
    own, gradient = run.noises.covariance(divided, divided)[1], run.noises.covariance(g, g)[1]
    weighed = run.batch.concentration(gradient)
    left = (1 - run.batch.concentration(own) + 1 - weighed) / 2
    return own * left + run.noises.covariance(g, divided)[1] * (1 - weighed)


def _shaped(run: Interpreter, call: Call, x: Signal, m: Moments, level: Level, function: Any) -> Signal:
    """Return the outcome: a gradient of its own, a Gaussian, or a function of the same source."""
    ancestors = x.ancestors | level.ancestors
    if x.base is not None:
        return Signal(m, None, m, ancestors, None, "approximate")
    wave = x.wave
    if wave is not None and wave.source is not None and not wave.gaussian:
        return Signal(m, Wave(wave.source, function(wave.values)), None, ancestors, None, "approximate")
    source = gaussian(m, max(call.out.numel() // run.batch.size, 1), run.batch)
    normal = wave is not None and wave.gaussian
    return Signal(
        m, Wave(source, source.nodes, gaussian=True) if normal else None, None, ancestors, None, "approximate"
    )


def _stretched(m: Moments, level: Level) -> Moments:
    """Each example times a number of its own: half the squared difference is l l' d + (l - l')(l q - l' q')/2."""
    v, m = level.values, forgotten(m)
    size = v * m.q
    d = np.outer(v, v) * m.d + (v[:, None] - v) * (size[:, None] - size) / 2
    return replace(
        m, mean=m.mean * v, q=m.q * v * v, d=np.maximum(d, 0.0), spread=m.spread.plus(level.spread.scaled(2.0))
    )


def _shifted(m: Moments, v: Array) -> Moments:
    """Each example plus a number of its own."""
    apart = v[:, None] - v
    d = m.d + apart * (m.mean[:, None] - m.mean) + apart**2 / 2
    q = m.q + 2 * v * m.mean + v * v
    field = m.field
    if field is not None:
        field = field.mapped(lambda gap: np.minimum(gap * float(m.q.mean()) / max(float(q.mean()), 1e-300), 2.0))
    return replace(m, mean=m.mean + v, q=np.maximum(q, 0.0), d=np.maximum(d, 0.0), field=field)
