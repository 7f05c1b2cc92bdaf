"""Decisions: what code asks of a whole tensor before it branches. Approximate: a sample of draws answers.

A signal that is one number everywhere answers for itself, whatever its size, such as whether any of it is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Concrete, Signal, Value

from .pointwise import on_draws

aten = torch.ops.aten
WHETHER = (aten.any, aten.all, aten._is_any_true, aten._is_all_true)


def decide(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Any, all, the largest, the smallest, the norm: of a constant, or on each draw."""
    value = run.value(call.args[0])
    constant = _constant(value)
    if constant is None or call.operator.overloadpacket not in WHETHER:
        return on_draws(run, call)
    return Concrete(torch.full(call.out.shape, bool(constant)))


def _constant(value: Value) -> float | None:
    """The one number that a signal is everywhere; None where it varies."""
    if not isinstance(value, Signal) or value.base is not None or value.wave is None:
        return None
    values = value.wave.values
    return float(values.flat[0]) if np.ptp(values) == 0 else None


RULES: dict[Any, Rule] = dict.fromkeys(
    (*WHETHER, aten.max, aten.min, aten.amin, aten.linalg_vector_norm, aten.norm, aten.count_nonzero), decide
)
