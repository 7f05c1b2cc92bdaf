"""Tables: rows looked up in a parameter. Approximate where an index comes twice in one example.

A table's rows are independent draws, so two examples share what their indices share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Concrete, Fill, ParameterGradient, Signal, Value

from .positions import as_signal

aten = torch.ops.aten


def embedding(run: Interpreter, call: Call) -> Value:
    """Rows of a table: two examples have in common what the same index at the same place gives."""
    table, indices = run.value(call.args[0]), run.value(call.args[1])
    if not isinstance(table, Fill) or not isinstance(indices, Concrete) or len(indices.tensor) != run.batch.size:
        return run.lost(f"{call.name} of something else than a parameter and known indices of the batch")
    rows = indices.tensor.reshape(run.batch.size, -1)[torch.from_numpy(run.batch.chosen)].numpy()
    same = (rows[:, None] == rows).mean(2)
    r, own = len(rows), 2 * run.batch.pair_mean(same**2)
    std = np.full(r, table.variance**0.5)
    units = int(call.args[0].shape[1])
    noise = run.noises.fresh(own / units)
    source = Source(np.full(r, table.mean), std, 1 - same, units, CERTAIN, noise, own)
    wave = Wave(source, source.nodes, gaussian=True)
    moments = forward(wave, run.batch, run.noises)
    return Signal(moments, wave, ancestors=1 << table.source, linear=table.source, mark="approximate")


def embedding_backward(run: Interpreter, call: Call) -> Value:
    """The gradient of the table: each entry of the gradient lands in one row."""
    g = as_signal(run, run.value(call.args[0]))
    if g is None:
        return run.lost(f"{call.name} of something that is no gradient")
    entries = call.args[0].numel() / call.out.numel()
    return ParameterGradient(entries * float(g.moments.q.mean()))


RULES: dict[Any, Rule] = {aten.embedding: embedding, aten.embedding_dense_backward: embedding_backward}
