"""Sums and products of tensors. Functions of one source are taken on its nodes; others by their covariance.

Two signals of different origin have covariance zero where one of them is linear in a fill, of zero mean, that the
other does not depend on: what a residual branch and its input are. Otherwise zero is an assumption, and marked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch

from steadygrad.prediction import hermite, of_mean
from steadygrad.prediction.axes import SPREAD_OUT, Axes, entries, laid, roles
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.field import Field
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.kinship import Product, Sum
from steadygrad.prediction.multiplied_signals import folded_product, to_factor
from steadygrad.prediction.normal import gaussian, taken_as_gaussian
from steadygrad.prediction.propagation import blur_of, squares_vary
from steadygrad.prediction.side_by_side import as_met, folded
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import Noises
from steadygrad.prediction.values import (
    Array,
    Concrete,
    Cropped,
    Draws,
    Exactness,
    Fill,
    Moments,
    Signal,
    Value,
    worst,
)

from .by_parts import by_parts
from .factors import by_factors
from .levels import levelled
from .pointwise import on_draws, pointwise
from .positions import Dims, as_signal, axes_of, features, laid_out, of_entries, spread_out, together
from .reparametrized import on_from_a_weight

aten = torch.ops.aten
Parts: TypeAlias = tuple[tuple[Signal, float], ...]
BOTH = 2
MOST_PARTS = 8  # of a sum that are remembered: the largest ones


def _of_losses(rule: Rule) -> Rule:
    """Where two things meet in a loss that can be sampled, what both have in common is in their samples."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        if not run.in_loss:
            return rule(run, call)
        values = [run.value(t) for t in call.tensors]
        met = [v for v in values if isinstance(v, Signal) or (isinstance(v, Concrete) and v.leads(run.batch.size))]
        signals = any(isinstance(v, Signal) for v in met)
        if not signals or len(set(map(id, met))) < BOTH:
            return rule(run, call)
        said = len(run.unknown)
        found = on_draws(run, call)
        if isinstance(found, Draws | Cropped):
            return found
        del run.unknown[said:]
        return rule(run, call)

    return ruled


def add(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """X + y, x - y."""
    values = [run.value(t) for t in call.tensors]
    skip = len(values) == 2 and call.operator.overloadpacket in (aten.add, aten.add_) and _is_residual(run, values)
    if len(values) < 2 or (_one_origin(values) and not skip):
        return pointwise(run, call)
    if any(isinstance(v, Draws) for v in values):
        return pointwise(run, call)
    terms = zip(call.tensors, values, strict=True)
    x, y = (_whole(run, t) if isinstance(v, Concrete) else _term(run, t, spread_out(run, t, v)) for t, v in terms)
    if x is None or y is None or (x.base is None) != (y.base is None):
        return run.lost(f"{call.name} of tensors of different kinds")
    if call.kwargs.get("alpha", 1) not in (1, -1):
        return run.lost(f"{call.name} with a factor")
    sign = -1.0 if call.operator.overloadpacket in (aten.sub, aten.sub_) else 1.0
    return _sum(run, x, y, sign, call)


def _is_residual(run: Interpreter, values: list[Value]) -> bool:
    """Whether the batch itself is added to a signal; what is subtracted are targets, and the outcome is drawn."""
    data = next((v for v in values if isinstance(v, Concrete)), None)
    return data is not None and data.leads(run.batch.size) and any(isinstance(v, Signal) for v in values)


def _one_origin(values: list[Value]) -> bool:
    """Whether all terms are functions of one source and one gradient, or constants; the gradient itself is one."""
    signals = [v for v in values if isinstance(v, Signal)]
    if any(isinstance(v, Fill) and v.variance > 0 for v in values) and signals:
        return False
    known = [s for s in signals if s.wave is not None]
    sources = {id(s.wave.source) for s in known if s.wave and (s.wave.source is not None or s.base is None)}
    bases = {id(s.base) if s.base is not None else None for s in signals}
    return len(sources) <= 1 and len(bases) <= 1 and (len(known) == len(signals) or bases != {None})


def _term(run: Interpreter, tensor: torch.Tensor, value: Value) -> Signal | None:
    """Return a term as a signal; a bias is one that is the same for every example."""
    return of_entries(run, value, entries(tensor)) if isinstance(value, Fill) else as_signal(run, value)


def _whole(run: Interpreter, tensor: torch.Tensor) -> Signal | None:
    """Return data as a signal; whatever stands before its last dimension is a position."""
    found = laid_out(run, tensor, tuple(range(tensor.dim() - 1)))
    return None if found is None else replace(found[0], axes=laid(found[1], tensor.stride()))


def _independent(x: Signal, y: Signal) -> bool:
    return any(a.linear is not None and not b.ancestors >> a.linear & 1 for a, b in ((x, y), (y, x)))


def _sum(run: Interpreter, x: Signal, y: Signal, sign: float, call: Call) -> Signal:
    """Return a sum; what both terms hold of the same signal is counted once. A product of two counts as Gaussian."""
    x, y = (replace(t, wave=None) if t.base is None and _is_product(t) else t for t in (x, y))
    (a, b), dims = together(run, list(zip(call.tensors, (x, y), strict=True)), call.out)
    units = features(call.out, dims, run.batch.size)
    parts, common = _common(run, x, y, sign)
    common = [_in_common(run, x.moments, y.moments, sign)] if run.tied else common
    origin = Sum(((x.moments, 1.0), (y.moments, sign))) if run.remembers else None
    moments = replace(_sum_moments(run, a, b, sign, units), origin=origin)
    if run.tied and moments.field is not None:
        smaller = min((a, b), key=lambda m: float(m.q.mean()))
        field = _with_common(moments, smaller, float(common[0][0].mean()))
        moments = replace(moments, field=field and replace(field, of_mean=moments.field.of_mean))
    for q, d in common:
        moments = replace(moments, q=np.maximum(moments.q + q, 1e-9 * moments.q), d=np.maximum(moments.d + d, 0.0))
    known: Exactness = "exact" if _independent(x, y) and not common else "approximate"
    mark, ancestors = worst(x.mark, y.mark, known), x.ancestors | y.ancestors
    axes = _axes_of(run, call, (x, y), dims)
    if x.base is not None:
        return Signal(moments, _as_met((x, y), moments), moments, ancestors, None, mark, axes, parts)
    normal = _is_gaussian(x) and _is_gaussian(y)
    wave = None if normal or run.tied else _folded(run, x, y, sign, moments, units, _blur(a, b, units, run.batch))
    if wave is None:
        source = gaussian(moments, units, run.batch)
        wave = Wave(source, source.nodes, gaussian=True)
        moments = replace(moments, unit_variance=source.own_variance)
        source.root = moments if run.remembers else None
    else:
        moments = replace(moments, unit_variance=squares_vary(wave, run.batch))
    weak: Exactness = "exact" if normal else "approximate"
    return Signal(moments, wave, None, ancestors, None, worst(mark, weak), axes, parts)


def _axes_of(run: Interpreter, call: Call, terms: tuple[Signal, Signal], dims: Dims) -> Axes | None:
    """Return the axes of a sum whose terms have the same positions in different orders; None where it has a term's."""
    held = [_places(run.dims(t, x)) for t, x in zip(call.tensors, terms, strict=True)]
    if held[0] != held[1] or held[0] != _places(dims) or any(SPREAD_OUT in roles(dim) for dim in dims):
        return None
    return axes_of(run, dims, call.out)


def _places(dims: Dims) -> list[bool]:
    return [any(axis.role >= 0 for axis in dim) for dim in dims]


def _folded(run: Interpreter, x: Signal, y: Signal, sign: float, m: Moments, units: float, blur: float) -> Wave | None:
    """Return a sum that is no Gaussian as a function of one; a term that is none is taken as Gaussian."""
    if x.moments.q.any() and y.moments.q.any():
        x, y = (_with_wave(run, t, units) for t in (x, y))
    if x.wave is None or y.wave is None or x.wave.source is None or y.wave.source is None:
        return None
    if m.field is not None:
        m = replace(m, field=m.field.raised(-blur).lengthened(-2 / units))
    return folded(x.wave, y.wave, sign, m, units, run.batch)


def _with_wave(run: Interpreter, x: Signal, units: float) -> Signal:
    if x.wave is not None:
        return x
    found = taken_as_gaussian(x, units, run.batch)
    if run.remembers and found.wave is not None and found.wave.source is not None:
        found.wave.source.root = x.moments
    return found


def _blur(x: Moments, y: Moments, units: float, batch: Batch) -> float:
    """Return what so many units add to what products of two places of a sum of independent terms vary by."""
    a, b = float(x.q.mean()), float(y.q.mean())
    whole = a * a * blur_of(x, units, batch) + b * b * blur_of(y, units, batch) + 2 * a * b / units
    return whole / max(a + b, 1e-300) ** 2


def _as_met(terms: tuple[Signal, Signal], m: Moments) -> Wave | None:
    """Return by what a gradient that skips a branch is larger where the stream was not zero, beside the branch's."""
    found = [(s, met) for s in terms if s.wave is not None and (met := as_met(s.wave)) is not None]
    if not found and sum(s.wave is not None and s.wave.source is not None for s in terms) == 1:
        found = [(s, Wave(s.wave.source, (s.wave.values**2).mean(0)[None])) for s in terms if s.wave and s.wave.source]
    if len(found) != 1:
        return None
    skip, met = found[0]
    mean, q = float(met.values[0] @ hermite.tables()[1]), float(m.q.mean())
    if not (mean > 0 and q > 0):
        return None
    share = min(float(skip.moments.q.mean()) / q, 1.0)
    return Wave(met.source, np.sqrt(share * met.values / mean + 1 - share))


def _in_common(run: Interpreter, x: Moments, y: Moments, sign: float) -> tuple[Array, Array]:
    """Return what two terms that met the same weights add to the second moment of their sum, and to its differences.

    Differences of the one go along those of the other by one share over all pairs, as the terms do over all examples.
    """
    own, other = run.kinship.of(x, y)
    size, apart = np.sqrt(x.q * y.q), np.sqrt(x.d * y.d)
    largest = run.batch.distinct_mean(apart) if len(apart) > 1 else 0.0
    share = min(max((own - other) * float(size.mean()) / largest, -1.0), 1.0) if largest > 0 else 0.0
    return 2 * sign * (own * size - x.mean * y.mean), 2 * sign * share * apart


def _with_common(m: Moments, smaller: Moments, q: float) -> Field | None:
    """Return how positions of a sum differ where its terms have so much in common: what the smaller one is like."""
    whole = float(m.q.mean()) + q
    if m.field is None or smaller.field is None or not 0 < q < whole:
        return m.field
    return m.field.mixed(1 - q / whole, smaller.field, q / whole)


def parts_of(x: Signal) -> Parts:
    """Return the signals that one is a sum of, and what they are multiplied by on average."""
    if x.parts is not None:
        return x.parts
    if x.base is not None and x.wave is not None and x.wave.source is not None:
        return ((Signal(x.base, None, x.base), float(x.wave.values.mean(0) @ hermite.tables()[1])),)
    return ((x, 1.0),)


def _common(run: Interpreter, x: Signal, y: Signal, sign: float) -> tuple[Parts, list[tuple[Array, Array]]]:
    """Return the parts of a sum, and what those of both terms add to its second moment and differences."""
    mine, theirs = parts_of(x), tuple((s, sign * factor) for s, factor in parts_of(y))
    common = []
    for a, j in mine:
        for b, k in theirs:
            met = _covariance(run, a, b)
            if met is not None:
                common.append((2 * j * k * met[0], 2 * j * k * met[1]))
    return _collected((*mine, *theirs)), common


def _collected(parts: Parts) -> Parts:
    total: dict[int, tuple[Signal, float]] = {}
    for s, factor in parts:
        before = total.get(id(s.moments))
        total[id(s.moments)] = (s, factor + (before[1] if before else 0.0))
    return _largest(total.values())


def _largest(parts: Iterable[tuple[Signal, float]]) -> Parts:
    return tuple(sorted(parts, key=lambda p: -(p[1] ** 2) * float(p[0].moments.q.mean()))[:MOST_PARTS])


def _covariance(run: Interpreter, x: Signal, y: Signal) -> tuple[Array, Array] | None:
    """Return E[xy] and E[(x - x')(y - y')]/2, beside the means, of one signal or of two functions of one source."""
    m = x.moments
    if m is y.moments:
        return m.q - m.mean**2, m.d - (m.mean[:, None] - m.mean) ** 2 / 2
    if x.base is not None or x.wave is None or y.wave is None or x.wave.source is not y.wave.source:
        return None
    source = x.wave.source
    if source is None:
        return None
    f, g = (np.broadcast_to(s.wave.values, source.nodes.shape) for s in (x, y) if s.wave)
    a, b = (source.rows(values @ hermite.tables()[1]) for values in (f, g))
    both = source.rows((f * g) @ hermite.tables()[1]) - a * b
    # 4 u v = (u + v)² - (u - v)²: of squares what two examples have apart is known of any function.
    apart = (source.difference(hermite.expand(f + g)) - source.difference(hermite.expand(f - g))) / 4
    apart -= (a[:, None] - a) * (b[:, None] - b) / 2
    return both, apart


def _is_product(x: Signal) -> bool:
    return x.wave is not None and x.wave.source is not None and x.wave.source.factors is not None


def _is_gaussian(x: Signal) -> bool:
    return x.wave is None or x.wave.gaussian


def _sum_moments(run: Interpreter, x: Moments, y: Moments, sign: float, units: float) -> Moments:
    mean = x.mean + sign * y.mean
    cross = sign * (x.mean * y.mean)
    q = x.q + y.q + 2 * cross
    d = x.d + y.d + sign * (x.mean[:, None] - x.mean) * (y.mean[:, None] - y.mean)
    total = max(float(q.mean()), 1e-300)
    spread = x.spread.scaled(float(x.q.mean()) / total).plus(y.spread.scaled(float(y.q.mean()) / total))
    shares = float(x.q.mean()) / total, float(y.q.mean()) / total
    field = x.field.mixed(shares[0], y.field, shares[1]) if x.field and y.field else None
    field = field and replace(field, lengths=_lengths((x, y), shares, units, run.noises))
    meeting = 4 * run.batch.pair_mean((x.product / total) * (y.product / total))
    if x.field and y.field:
        meeting = 4 * shares[0] * shares[1] * _met(x, y, units, run.batch)
    noise, taken = run.noises.fresh(max(meeting, 0.0) / units), shares[0] * x.taken + shares[1] * y.taken
    if field is None or any(m.field is None or m.field.of_mean is None for m in (x, y)):
        return Moments(mean, q, d, spread.plus(noise), field=field, taken=taken)
    of_means = run.noises.fresh(_of_means((x, y), shares, field, run.batch) / units).centred
    spread = spread.plus(of_mean.going_with(noise, of_means, of_mean.share(field), run.noises))
    field = of_mean.summed(tuple(zip(shares, (x, y), strict=True)), field, spread, of_means)
    return Moments(mean, q, d, spread, field=field, taken=taken)


def _lengths(terms: tuple[Moments, Moments], shares: tuple[float, float], units: float, noises: Noises) -> Array:
    """Return by lag how squared lengths |x|² + |y|² + 2 x·y of places of a sum vary together, relative to their mean.

    Of independent terms of n features x·y varies by q_x q_y/n, at two places as the product of their correlations. Of
    what each length varies by, the 2/n of n Gaussian features are its own; beyond that places that are long in one are
    in the other as far as draws that are: not where a branch begins with a norm.
    """
    (f, g), (w, r) = (m.field for m in terms), shares
    assert f is not None
    assert g is not None
    a, b = f.correlations[0], g.correlations[0]
    beyond = (np.maximum(m.by_lag - 2 / units * c * c, 0.0) for m, c in ((f, a), (g, b)))
    both = _together(terms, noises) * np.sqrt(np.prod(list(beyond), axis=0)) + 2 / units * a * b
    return np.asarray(w * w * f.by_lag + r * r * g.by_lag + 2 * w * r * both)


def _together(terms: tuple[Moments, Moments], noises: Noises) -> float:
    """Return the correlation of the log sizes of two terms over draws; 1 where one is the same in all."""
    x, y = (m.spread for m in terms)
    both = noises.covariance(x, x)[0] * noises.covariance(y, y)[0]
    return min(max(noises.covariance(x, y)[0] / both**0.5, 0.0), 1.0) if both > 0 else 1.0


def _of_means(terms: tuple[Moments, Moments], shares: tuple[float, float], whole: Field, batch: Batch) -> float:
    """Return what the squared mean over positions varies by as two terms meet, relative to it, of one unit."""
    f, g = (m.field for m in terms)
    assert f is not None
    assert g is not None
    sizes = [share * of_mean.share(m) / of_mean.share(whole) for share, m in zip(shares, (f, g), strict=True)]
    apart = [(1 - m.mean()[1]) / of_mean.share(m) for m in (f, g)]
    of_two = apart[0] * apart[1] + (_beside(f.varied, 1 - apart[0]) * _beside(g.varied, 1 - apart[1])) ** 0.5
    return 4 * sizes[0] * sizes[1] * max(float(1 / batch.size + (1 - 1 / batch.size) * of_two), 0.0)


def _met(x: Moments, y: Moments, units: float, batch: Batch) -> float:
    """Return the mean over pairs of examples and positions of the product of both terms' products.

    What these vary by about their means they have in common, but for what their units add: a branch keeps the angles of
    what it is given.
    """
    assert x.field is not None
    assert y.field is not None
    f, g = x.field, y.field
    left = f.varied - blur_of(x, units, batch), g.varied - blur_of(y, units, batch)
    own, other = (
        (1 - a) * (1 - b) + np.sqrt(_beside(left[0], a) * _beside(left[1], b))
        for a, b in ((f.within, g.within), (f.across, g.across))
    )
    return float((f.weights * f.averaged((own, other), batch.size)).sum())


def _beside(varied: float, gap: Array | float) -> Array:
    """Return by how much products at these lags vary; a place with itself has at most what is left."""
    return np.asarray(np.clip(varied, 0.0, 1 - (1 - gap) ** 2))


def multiply(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """X y, x / y: on the nodes of one source, or of independent factors."""
    values = [run.value(t) for t in call.tensors]
    signals = [v for v in values if isinstance(v, Signal)]
    if len(signals) == 2 and sum(s.base is not None for s in signals) == 2:
        return run.lost(f"{call.name} of two gradients")
    if call.operator.overloadpacket not in (aten.mul, aten.mul_):
        return pointwise(run, call)
    if len(signals) == 2 and _apart(signals):
        return _product(run, call, *signals)
    if len(signals) == 2 and {s.base is None for s in signals} == {True, False}:
        return _to_factor(run, call, *sorted(signals, key=lambda s: s.base is None))
    found = by_factors(run, call, signals[0]) if len(signals) == 1 else None
    return pointwise(run, call) if found is None else found


def _apart(signals: list[Signal]) -> bool:
    sources = [s.wave.source if s.wave else None for s in signals]
    return all(s.base is None for s in signals) and sources[0] is not sources[1]


def _to_factor(run: Interpreter, call: Call, g: Signal, y: Signal) -> Value | tuple[Value, ...]:
    """A gradient times a factor: where it was multiplied by a function of the product, that is known of the other."""
    found = pointwise(run, call)
    if not isinstance(found, Signal) or g.wave is None or y.wave is None:
        return found
    met = to_factor(g.wave, y.wave.source, found.moments)
    if met is None:
        return found
    wave, base, after = met
    return replace(found, moments=after, wave=wave, base=base)


def _product(run: Interpreter, call: Call, x: Signal, y: Signal) -> Signal:
    a, b = x.moments, y.moments
    (first, second), dims = together(run, list(zip(call.tensors, (x, y), strict=True)), call.out)
    mean_a, mean_b = (a.q[:, None] + a.q) / 2, (b.q[:, None] + b.q) / 2
    uneven = (a.q[:, None] - a.q) * (b.q[:, None] - b.q) / 4
    d = mean_a * b.d + mean_b * a.d - a.d * b.d + uneven
    favour = run.leanings.met(a, run.leanings.of(b)) if run.tied else 1.0
    moments = Moments(
        a.mean * b.mean,
        a.q * b.q * favour,
        d * favour,
        a.spread.plus(b.spread),
        field=first.field.met(second.field) if first.field and second.field else None,
        origin=Product(a, b) if run.remembers else None,
    )
    mark = worst(x.mark, y.mark, "exact" if _independent(x, y) else "approximate")
    parts = [(s, k * float(other.mean.mean())) for own, other in ((x, b), (y, a)) for s, k in parts_of(own)]
    kept = _largest((s, k) for s, k in parts if k != 0)
    axes, wave = _axes_of(run, call, (x, y), dims), None
    if all(t.shape == call.out.shape for t in call.tensors):
        units = features(call.out, dims, run.batch.size)
        x, y = (_with_wave(run, t, units) for t in (x, y))
        if x.wave is not None and y.wave is not None:
            wave, moments = folded_product(x.wave, y.wave, moments, units, run.batch) or (None, moments)
        if wave is not None and wave.source is not None and run.remembers:
            wave.source.root = moments
    return Signal(moments, wave, None, x.ancestors | y.ancestors, None, mark, axes, kept)


RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        (aten.add, aten.add_, aten.sub, aten.sub_, aten.rsub), by_parts(on_from_a_weight(levelled(_of_losses(add))))
    ),
    **dict.fromkeys(
        (aten.mul, aten.mul_, aten.div, aten.div_), by_parts(on_from_a_weight(levelled(_of_losses(multiply))))
    ),
}
