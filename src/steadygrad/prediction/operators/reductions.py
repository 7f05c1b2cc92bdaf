"""Sums and means: over features, over positions, over the batch; of samples by running them.

Over all features of an example: a level (levels.py). Over positions: what they have in common stays (windows.py). Over
the batch, of a gradient: the gradient of a parameter, entries of different features taken as independent.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from steadygrad.prediction import hermite, weight_gradients
from steadygrad.prediction.axes import EXAMPLE, FEATURE, SPREAD_OUT, renamed, roles, sizes
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.propagation import scaled
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import (
    Cropped,
    Draws,
    Level,
    Moments,
    ParameterGradient,
    Residue,
    Scores,
    Signal,
    Unknown,
    Value,
)
from steadygrad.prediction.windows import Window, averaged

from .crops import reduced
from .fills import argument
from .pointwise import on_draws
from .pooling import pooled_signal
from .positions import Dims, as_signal, field_of, spread_out, told_apart

aten = torch.ops.aten
LARGEST = (aten.amax, aten.logsumexp)


def reduce(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """A sum, a mean or a variance over some dimensions."""
    tensor = call.args[0]
    value = spread_out(run, tensor, run.value(tensor))
    if isinstance(value, Scores):
        return Unknown("attention weights over heads")  # what nn.MultiheadAttention returns beside its output
    if isinstance(value, Draws):
        return on_draws(run, call)  # of few entries no direction is small beside the whole
    if isinstance(value, Level | Residue):
        return value if not isinstance(value, Level) or _count(call) == 1 else run.lost(f"{call.name} of a level")
    if isinstance(value, Cropped):
        return reduced(run, value, call, _reduced(call, tensor))
    x = value if isinstance(value, Signal) else as_signal(run, value) if run.backward else None
    if x is None:
        return run.lost(f"{call.name} of a parameter")
    dims = run.dims(tensor, value)
    gone = _reduced(call, tensor)
    over = {role for i in gone for role in roles(dims[i])}
    if EXAMPLE in over or (run.batch.size == 1 == tensor.shape[0] and 0 in gone):
        return _of_parameter(run, call, x, dims, gone) if x.base is not None else on_draws(run, call)
    return _within_examples(run, call, x, dims, gone)


def _reduced(call: Call, tensor: torch.Tensor) -> list[int]:
    dim = argument(call, "dim")
    dims = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    return [d % tensor.dim() for d in dims] or list(range(tensor.dim()))


def _count(call: Call) -> int:
    return int(call.args[0].numel() // max(call.out.numel(), 1))


def _of_parameter(run: Interpreter, call: Call, x: Signal, dims: Dims, gone: list[int]) -> Value:
    """The gradient of a parameter that broadcast over examples, and positions, and features."""
    if call.operator.overloadpacket is not aten.sum:
        return run.lost(f"{call.name} of a gradient over the batch")
    kept = {a.role for i, dim in enumerate(dims) if i not in gone for a in dim if a.role >= 0}
    m = x.moments
    field = field_of(m, sizes(dims))
    field = field.kept(tuple(r for r in range(len(sizes(dims))) if r not in kept)) if field else None
    features = math.prod(a.size for i in gone for a in dims[i] if a.role == FEATURE)
    if x.balanced and not kept:
        return ParameterGradient(0.0)
    known = None if kept or x.balance is None else x.balance.sum_of(x.wave, run.batch)
    if known is not None:
        return ParameterGradient(features * known)
    terms = ((m, None),) if run.tied and field is None and features == 1 else ()
    return ParameterGradient(features * weight_gradients.of_bias(replace(m, field=field), run.batch), terms)


def _within_examples(run: Interpreter, call: Call, x: Signal, dims: Dims, gone: list[int]) -> Value | tuple[Value, ...]:
    x, dims = told_apart(x, dims)
    pieces = [a for i in gone for a in dims[i]]
    left = math.prod(a.size for i, dim in enumerate(dims) if i not in gone for a in dim if a.role == FEATURE)
    features = math.prod(a.size for a in pieces if a.role == FEATURE)
    if not pieces or all(a.role == SPREAD_OUT for a in pieces):
        return x
    if features > 1 and left == 1:
        return _over_features(run, call, x, _count(call))
    if call.operator.overloadpacket in LARGEST:
        return on_draws(run, call)
    if call.operator.overloadpacket not in (aten.sum, aten.mean):
        return run.lost(f"{call.name} over positions")
    return _summed(run, call, x, (dims, gone), features)


def _over_features(run: Interpreter, call: Call, x: Signal, count: int) -> Value | tuple[Value, ...]:
    """The level of each example; on the way back what goes through it. Where it stays no dimension: samples."""
    if x.base is not None:
        return Residue(count)
    if not argument(call, "keepdim", False) and count * run.batch.size <= SMALL:
        return on_draws(run, call)
    m, operator = x.moments, call.operator.overloadpacket
    variance = np.maximum(m.q - m.mean**2, 0.0)
    share = m.field.share if m.field is not None and np.ptp(m.field.share) > 0 else None
    lengths = None if share is None else np.sqrt(share)
    if operator is aten.linalg_vector_norm:
        return Level(np.sqrt(count * m.q), m.spread.scaled(0.5), x.ancestors, places=lengths)
    if operator is aten.var:
        return Level(variance, m.spread, x.ancestors, 1.0, 2 / count, share)
    if operator is aten.std:
        return Level(np.sqrt(variance), m.spread.scaled(0.5), x.ancestors, 0.5, 2 / count, lengths)
    if operator not in (aten.sum, aten.mean):
        return on_draws(run, call)
    square = float((m.mean**2).mean())
    noise = (float(m.q.mean()) / square - 1) / count if square > NEAR_ZERO * float(m.q.mean()) else 0.0
    # the mean of what is of one sign, as of squares, is at each position as large as the root of its second moment
    places = None if lengths is None or not noise else lengths / lengths.mean()
    return Level(m.mean * (count if operator is aten.sum else 1), _of_mean(x.wave), x.ancestors, 1.0, noise, places)


SMALL = 1 << 12
NEAR_ZERO = 1e-3  # a mean this far below the deviation has no power to speak of


def _of_mean(wave: Wave | None) -> Spread:
    """Return how the log of E[f(z)] varies: by E[f (z² - 1)]/(2 E[f]) of the log variance of z."""
    if wave is None or wave.source is None:
        return CERTAIN
    z, w = hermite.tables()[:2]
    f = wave.values.mean(0)
    mean = float(f @ w)
    slope = float(f * (z * z - 1) @ w) / (2 * mean) if abs(mean) > 1e-9 * float(np.abs(f) @ w) else 0.0
    return wave.source.spread.scaled(slope)


def _summed(run: Interpreter, call: Call, x: Signal, where: tuple[Dims, list[int]], features: int) -> Signal:
    """Over positions, and some of the features, which are independent."""
    dims, gone = where
    m = x.moments
    field = field_of(m, sizes(dims))
    places = {a.role for i in gone for a in dims[i] if a.role >= 0}
    windows: list[Window] | None = None
    if field is not None:
        windows = [Window(n, n, 0, n, 1) if i in places else Window(1, 1, 0, n, n) for i, n in enumerate(field.sizes)]
        m = averaged(replace(m, field=field), windows)
        assert m.field is not None
        m = replace(m, field=m.field.kept(tuple(i for i in range(len(field.sizes)) if i not in places)))
    if features > 1:
        m = _of_independent(m, features)
    if call.operator.overloadpacket is aten.sum:
        m = scaled(m, float(_count(call)))
    keep = argument(call, "keepdim", False)
    left = tuple(() if i in gone else dim for i, dim in enumerate(dims) if keep or i not in gone)
    order = sorted({a.role for dim in left for a in dim if a.role >= 0})
    new = renamed(left, {role: i for i, role in enumerate(order)})
    return pooled_signal(run, x, m, new, call.out, windows if features == 1 else None)


def _of_independent(m: Moments, count: int) -> Moments:
    """The mean of features that have a mean in common, and nothing else."""
    mean = np.outer(m.mean, m.mean)
    q = (m.q - m.mean**2) / count + m.mean**2
    product = (m.product - mean) / count + mean
    d = np.maximum((q[:, None] + q) / 2 - product, 0.0)
    np.fill_diagonal(d, 0.0)
    return replace(m, q=q, d=d)


RULES: dict[Any, Rule] = dict.fromkeys(
    (aten.sum, aten.mean, aten.amax, aten.logsumexp, aten.var, aten.std, aten.linalg_vector_norm), reduce
)
