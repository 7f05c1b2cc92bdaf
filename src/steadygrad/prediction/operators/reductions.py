"""Sums and means: of samples by running them; of a gradient over the batch, for a bias."""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Draws, ParameterGradient, Signal, Value

from .linear import bias_gradient
from .pointwise import on_draws

aten = torch.ops.aten


def reduce(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Sum or mean: of samples on each draw; of a gradient over its example axis, and any others, a parameter's."""
    value = run.value(call.args[0])
    if isinstance(value, Signal) and value.base is not None and _over_examples(call, run):
        return _summed(value, call, run)
    if isinstance(value, Draws | Signal):
        return on_draws(run, call)
    return run.lost(f"{call.name} of a parameter")


def _summed(value: Signal, call: Call, run: Interpreter) -> ParameterGradient:
    """The gradient of a parameter that broadcast: entries of one example are taken as independent."""
    terms = call.args[0].numel() // (max(call.out.numel(), 1) * run.batch.size)
    return ParameterGradient(terms * max(bias_gradient(value.moments, run).q, 0.0))


def _over_examples(call: Call, run: Interpreter) -> bool:
    dims = call.args[1] if len(call.args) > 1 else None
    whole = call.args[0].shape
    over = not dims or 0 in dims
    return call.operator.overloadpacket is aten.sum and over and len(whole) > 1 and whole[0] == run.batch.size


RULES: dict[Any, Rule] = dict.fromkeys((aten.sum, aten.mean, aten.amax, aten.logsumexp, aten.var, aten.std), reduce)
