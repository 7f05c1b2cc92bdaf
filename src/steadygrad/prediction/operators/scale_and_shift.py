"""Gradients of a norm's scale and shift: sums over examples and positions of the gradient, alone or times what it gave.

Where a function of the norm's output z follows, the gradient g h(z) meets z again: g h(z) z is summed, whose mean over
units is none where E[h z] is none. So it is where z is a term of a sum that a function follows (`met_as_term.py`). Else
gradient and output are taken as independent. Approximate. A gradient that comes of samples, as of the largest of an
image, meets z where it was drawn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steadygrad.prediction import gradients, hermite, weight_gradients
from steadygrad.prediction.axes import sizes
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.interpreter import Call, Interpreter
from steadygrad.prediction.met_as_term import along_term
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.values import (
    Array,
    Draws,
    Moments,
    ParameterGradient,
    Signal,
    Statistic,
    Unknown,
    Value,
)

from .pointwise import samples_of
from .positions import as_signal, field_of, laid_out


def scale_and_shift(
    run: Interpreter, call: Call, statistic: torch.Tensor, places: tuple[int, ...], *, over_batch: bool = False
) -> tuple[Value, Value]:
    """Return the gradients of scale and shift, which are met at all `places`: dimensions, the examples' among them.

    `over_batch` says that what was taken out is the mean over the batch.
    """
    drawn = _on_draws(run, call, run.value(statistic), places)
    if drawn is not None:
        return drawn
    g, x = (as_signal(run, run.value(t)) for t in call.args[:2])
    if g is None:
        return run.lost(f"{call.name} of something that is no gradient"), Unknown("no gradient")
    known = run.value(statistic)
    balanced = _of_balanced(run, g, known)
    if balanced is not None:
        return balanced
    shift = ParameterGradient(weight_gradients.of_bias(_over_places(run, g.moments, call.args[0], places), run.batch))
    source, left = (known.source, known.left) if isinstance(known, Statistic) else (None, 1.0)
    meets = source is not None and g.wave is not None and g.wave.source is source
    if isinstance(known, Statistic) and g.base is not None and g.wave is not None and meets:
        met = gradients.backward(g.base, Wave(source, g.wave.values * _output(known)), run.batch, run.noises)
        scale = weight_gradients.of_bias(_over_places(run, met, call.args[0], places), run.batch)
        return ParameterGradient(left * scale), shift
    if x is None:
        return run.lost(f"{call.name} of something that is no signal"), shift
    normal = _normalized(_over_places(run, x.moments, call.args[1], places), run.batch, over_batch=over_batch)
    if isinstance(known, Statistic) and known.places is not None:
        normal = _of_equal_places(normal, source)
    scale = weight_gradients.of_weight(_over_places(run, g.moments, call.args[0], places), normal, run.batch)
    if source is not None and g.base is not None and g.wave is not None:
        whole = weight_gradients.of_bias(_over_places(run, g.base, call.args[0], places), run.batch)
        scale += along_term(g.wave, source, run.kinship) ** 2 * whole
    return ParameterGradient(left * scale), shift


def _on_draws(
    run: Interpreter, call: Call, known: Value, places: tuple[int, ...]
) -> tuple[ParameterGradient, ParameterGradient] | None:
    """Return the same of samples of a gradient; None where there are none, or none of the norm's output."""
    g, x = (run.value(t) for t in call.args[:2])
    if not isinstance(g, Draws) or not isinstance(x, Signal) or not isinstance(known, Statistic):
        return None
    if known.source is None or g.values.shape[1:] != call.args[1].shape or not bool(g.values.isfinite().all()):
        return None
    output = Wave(known.source, _output(known)[None])
    z = samples_of(run, call.args[1], replace(x, wave=output, base=None), len(g.values))
    if z is None:
        return None
    over = tuple(i + 1 for i in places)
    of_scale, of_shift = (float(terms.sum(over).square().mean()) for terms in (g.values * z.values, g.values))
    return ParameterGradient(known.left * of_scale), ParameterGradient(of_shift)


def _of_balanced(run: Interpreter, g: Signal, known: Value) -> tuple[ParameterGradient, ParameterGradient] | None:
    """Return the same where another norm follows, with or without a function of this one's output between."""
    if g.balance is None or not isinstance(known, Statistic) or g.balance.source is not known.source:
        return None
    h = g.balance.factor if g.wave is None else g.wave.values.mean(0)
    sums = (g.balance.sum_of(Wave(known.source, x[None]), run.batch) for x in (h * _output(known), h))
    of_scale, of_shift = (x or 0.0 for x in sums)
    return ParameterGradient(known.left * of_scale), ParameterGradient(of_shift)


def _output(known: Statistic) -> Array:
    """Return what a norm made, on the nodes of its source, before scale and shift."""
    return known.function.values if known.function else hermite.tables()[0]


def _over_places(run: Interpreter, m: Moments, tensor: torch.Tensor, places: tuple[int, ...]) -> Moments:
    """Return moments over the positions of a tensor; features that stand there are independent ones."""
    field = field_of(m, sizes(run.dims(tensor)))
    found = laid_out(run, tensor, places) if field is None else None
    return replace(m, field=found[0].moments.field if found else field)


def _of_equal_places(normal: Moments, source: Source | None) -> Moments:
    """Return what a norm of each place makes of places that are not of one size."""
    field = source.field if source else None
    if source is None or field is None or normal.field is None or field.sizes != normal.field.sizes:
        return normal
    return replace(normal, d=source.gap, field=field)


def _normalized(x: Moments, batch: Batch, *, over_batch: bool) -> Moments:
    """Return what went in with a second moment of one, without what all examples and positions have in common."""
    q = max(float(x.q.mean()), 1e-300)
    centred = (x.field.gap(batch.size) if x.field else batch.pair_mean(x.d) / q) if over_batch else 1.0
    centred = max(centred, 1e-12)
    field = x.field and x.field.mapped(lambda gap: gap / centred)
    ones = np.ones(batch.followed)
    return Moments(0 * ones, ones, x.d / q / centred, x.spread, field=field)
