"""Copies: the same entries in new memory. Exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction.axes import laid
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Concrete, Draws, Signal, Value

from .positions import numbered, spread_out

aten = torch.ops.aten


def same(run: Interpreter, call: Call) -> Value:
    """The entries of the first tensor, in whatever order, device or precision."""
    tensor = call.tensors[0]
    value = spread_out(run, tensor, run.value(tensor))
    if isinstance(value, Draws | Concrete) and tensor.stride() != call.out.stride():
        return _in_order(value, call.out)
    if not isinstance(value, Signal) or (value.axes is None and tensor.stride() == call.out.stride()):
        return value
    return replace(value, axes=laid(tuple(numbered(list(run.dims(tensor, value)))), call.out.stride()))


def _in_order(value: Draws | Concrete, out: torch.Tensor) -> Value:
    if isinstance(value, Concrete):
        return Concrete(value.tensor.contiguous(), value.leading)
    return replace(value, values=value.values.contiguous())


RULES: dict[Any, Rule] = dict.fromkeys((aten.clone, aten._to_copy, aten.lift_fresh, aten.lift, aten.contiguous), same)
