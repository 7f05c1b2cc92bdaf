"""Copies: the same entries in new memory. Exact."""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.values import Value

aten = torch.ops.aten


def same(run: Interpreter, call: Call) -> Value:
    """The entries of the first tensor, in whatever order, device or precision."""
    return run.value(call.tensors[0])


RULES: dict[Any, Rule] = dict.fromkeys((aten.clone, aten._to_copy, aten.lift_fresh, aten.lift, aten.contiguous), same)
