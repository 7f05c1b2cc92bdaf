"""Copies: the same entries in new memory. Exact; of integers that a signal is rounded to, on its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from steadygrad.prediction.axes import EXAMPLE, laid, roles
from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Concrete, Draws, Signal, Value

from .positions import laid_out, numbered, spread_out

aten = torch.ops.aten


def same(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """The entries of the first tensor, in whatever order, device or precision."""
    tensor = call.tensors[0]
    if tensor.is_floating_point() and not (call.out.is_floating_point() or call.out.is_complex()):
        return _rounded(run, call)
    value = _as_numbers(call, spread_out(run, tensor, run.value(tensor)))
    if isinstance(value, Concrete) and (tensor.dtype != call.out.dtype or tensor.stride() == call.out.stride()):
        return replace(value, tensor=value.tensor.to(call.out.dtype), own=False)
    if isinstance(value, Draws | Concrete) and tensor.dim() > 1 and tensor.stride() != call.out.stride():
        return _in_order(run, call, value)
    if not isinstance(value, Signal) or (value.axes is None and tensor.stride() == call.out.stride()):
        return value
    return replace(value, axes=laid(tuple(numbered(list(run.dims(tensor, value)))), call.out.stride()))


def _rounded(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
    """Numbers as integers, or as true and false, are others."""
    known = run.value(call.tensors[0])
    return (
        Concrete(known.tensor.to(call.out.dtype)) if isinstance(known, Concrete) else run.rules["pointwise"](run, call)
    )


def _as_numbers(call: Call, value: Value) -> Value:
    """Samples of integers, or of true and false, in the kind that they become: arithmetic is another one there."""
    kind = call.out.dtype
    if not isinstance(value, Draws) or call.tensors[0].is_floating_point() or call.tensors[0].dtype == kind:
        return value
    return replace(value, values=value.values.to(torch.float32 if kind in (torch.float16, torch.bfloat16) else kind))


def _in_order(run: Interpreter, call: Call, value: Draws | Concrete) -> Value:
    """Samples, or data, in another order; data whose examples do not come first any more are a signal."""
    tensor = call.tensors[0]
    if isinstance(value, Concrete):
        first = EXAMPLE in roles(run.dims(tensor, value)[0]) or not value.leads(run.batch.size)
        found = None if first else laid_out(run, tensor, (0, 1) if tensor.dim() == 3 else (0, *range(2, tensor.dim())))
        if found is not None:
            return replace(found[0], axes=laid(found[1], call.out.stride()))
        return replace(value, tensor=value.tensor.contiguous(), own=False)
    return replace(value, values=value.values.contiguous())


same.moves = True  # type: ignore[attr-defined]  # of data too: where their examples go must be known
RULES: dict[Any, Rule] = dict.fromkeys((aten.clone, aten._to_copy, aten.lift_fresh, aten.lift, aten.contiguous), same)
