"""Tables: rows looked up in a parameter. Approximate where an index comes twice in one example.

A table's rows are independent draws, so two examples share what their indices share.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steadygrad.prediction import weight_gradients
from steadygrad.prediction.axes import EXAMPLE, FEATURE, Axis
from steadygrad.prediction.field import Field, white
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.kinship import Given
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Concrete, Fill, Moments, ParameterGradient, Signal, Value

from .positions import as_signal, field_of, parameter

aten = torch.ops.aten
MOST_LAGS = 256
STANDS_OUT = 0.1  # the share of one class from which a softmax of the others alone is off by as much as rows may be


def embedding(run: Interpreter, call: Call) -> Value:
    """Rows of a table: two examples have in common what the same index at the same place gives.

    Indices that are the same for the whole batch, each once, such as those of positions, give a parameter.
    """
    table, indices = run.value(call.args[0]), run.value(call.args[1])
    if isinstance(table, Fill) and isinstance(indices, Fill) and indices.variance == 0:
        return _one_row(run, call, table)
    if not isinstance(table, Fill) or not isinstance(indices, Concrete):
        return run.lost(f"{call.name} of something else than a parameter and known indices")
    if indices.leads(run.batch.size) and len(indices.tensor) == run.batch.size:
        return _of_batch(run, call, table, indices.tensor)
    if len(indices.tensor.unique()) < indices.tensor.numel():
        return run.lost(f"{call.name} of indices that come twice and are not those of the batch")
    return replace(table, mark="approximate")


def _one_row(run: Interpreter, call: Call, table: Fill) -> Value:
    """One row for all: the same at every place of every example."""
    out = call.out
    if out.shape[0] != run.batch.size:
        return run.lost(f"{call.name} of one index for all, but not for the batch")
    x, places = parameter(run, table), out.numel() // (out.shape[0] * out.shape[-1])
    if places == 1:
        return x.marked("approximate")
    axes = (Axis(FEATURE, out.shape[-1], 1), Axis(0, places, out.shape[-1]), Axis(EXAMPLE, len(out), out.stride(0)))
    m = replace(x.moments, field=white((places,), 0.0, 0.0, 0.0))
    return replace(x, moments=m, axes=axes, mark="approximate")


def _of_batch(run: Interpreter, call: Call, table: Fill, indices: torch.Tensor) -> Signal:
    tokens = indices.reshape(run.batch.size, -1)[torch.from_numpy(run.batch.chosen)].numpy()
    same = (tokens[:, None] == tokens).mean(2)
    varied = table.variance / max(table.variance + table.mean**2, 1e-300)
    field = None
    if indices.dim() > 1 and tokens.shape[1] > 1:
        field = _coincidences(indices.reshape(run.batch.size, -1).numpy(), run.batch.distinct_mean(same)).scaled(varied)
    r, own = len(tokens), 2 * run.batch.pair_mean(same**2)
    own *= field.overlap(run.batch.size) if field else 1.0
    std, units = np.full(r, table.variance**0.5), int(call.args[0].shape[1])
    noise = run.noises.fresh(own / units)
    source = Source(np.full(r, table.mean), std, 1 - same, units, CERTAIN, noise, own, field=field)
    wave = Wave(source, source.nodes, gaussian=True)
    moments = forward(wave, run.batch, run.noises)
    if run.remembers:
        moments = run.tables[table.source] = source.root = replace(moments, origin=Given())
    places = (Axis(0, tokens.shape[1], units),) if field else ()
    axes = (Axis(FEATURE, units, 1), *places, Axis(EXAMPLE, run.batch.size, units * tokens.shape[1]))
    return Signal(moments, wave, ancestors=1 << table.source, linear=table.source, mark="approximate", axes=axes)


def note_own_rows(run: Interpreter, x: Signal, weight: Fill, terms: int, units: int) -> None:
    """Note a table that is the head too, where a token's own row makes a logit that stands out from all others.

    Of the signal x it has z = Σ e x; of V logits of deviation s that one has e^z of V e^(s²/2) of all probability, and
    z² of V s² of all squares. Neither the loss nor what it sends back is followed where these are no small shares.
    """
    looked_up = run.tables.get(weight.source)
    if looked_up is None or x.base is not None or not run.remembers:
        return
    q, own = float(x.moments.q.mean()), run.kinship.of(x.moments, looked_up)[0]
    z, variance = terms * own * math.sqrt(q * float(looked_up.q.mean())), terms * weight.variance * q
    if z - variance / 2 > math.log(STANDS_OUT * units) or z * z > STANDS_OUT * units * variance:
        run.note(
            f"a table that is the head too: a token's own row makes a logit of {z:.3g}, beside others of deviation "
            f"{math.sqrt(variance):.3g}; what a loss makes of it is not followed"
        )


def _coincidences(tokens: NDArray[np.int64], here: float) -> Field:
    """Return how seldom two places hold the same index, [examples, places], by their distance."""
    size = tokens.shape[1]
    counts = np.bincount(np.unique(tokens, return_inverse=True)[1].ravel())
    any_two = float(((counts / tokens.size) ** 2).sum())
    lags = range(1, size, max(1, size // MOST_LAGS))
    met = [float((tokens[:, lag:] == tokens[:, : size - lag]).mean()) for lag in lags]
    within = 1 - np.interp(np.arange(size), [0, *lags], [1.0, *met])
    across = np.full(size, 1 - any_two)
    across[0] = 1 - here if here == here else 1 - any_two
    return Field(np.ones(size), within, across)


def embedding_backward(run: Interpreter, call: Call) -> Value:
    """The gradient of the table: each entry of the gradient lands in one row, where those of one index add up."""
    g = as_signal(run, run.value(call.args[0]))
    if isinstance(known := run.value(call.args[0]), ParameterGradient):
        return known
    if g is None:
        return run.lost(f"{call.name} of something that is no gradient")
    indices = run.value(call.args[1])
    if isinstance(indices, Concrete) and indices.leads(run.batch.size) and len(indices.tensor) == run.batch.size:
        return ParameterGradient(_over_rows(run, g.moments, indices.tensor, call.args[3]) / call.out.shape[0])
    entries = call.args[0].numel() / call.out.numel()
    return ParameterGradient(entries * float(g.moments.q.mean()))


def _over_rows(run: Interpreter, g: Moments, indices: torch.Tensor, padding: int) -> float:
    """Return the sum over rows of the second moment of what lands in each: places meet where they hold one index.

    What stands at the index that is padding lands nowhere: it meets none, and is taken off.
    """
    tokens = indices.reshape(run.batch.size, -1).numpy().copy()
    none = tokens == padding
    tokens[none] = -1 - np.arange(none.sum())
    chosen = tokens[run.batch.chosen]
    same = (chosen[:, None] == chosen).mean(2)
    places, ones = tokens.shape[1], np.ones(len(same))
    field = _coincidences(tokens, run.batch.distinct_mean(same)) if places > 1 else None
    g = replace(g, along=0.0, field=field_of(g, (places,)) if places > 1 else None)
    whole = weight_gradients.of_weight(g, Moments(0 * ones, ones, 1 - same, CERTAIN, field=field), run.batch)
    return max(whole - float(none.sum()) * float(g.q.mean()), 0.0)


RULES: dict[Any, Rule] = {aten.embedding: embedding, aten.embedding_dense_backward: embedding_backward}
