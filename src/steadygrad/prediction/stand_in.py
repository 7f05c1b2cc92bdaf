"""A module that cannot be predicted, replaced by what was measured of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from steadygrad.profile import LayerSignal

from .interpreter import Interpreter
from .normal import gaussian
from .source import Wave
from .spread import CERTAIN
from .values import Moments, Signal, Unknown, Value


def stand_in(
    run: Interpreter, row: LayerSignal, inputs: list[torch.Tensor], before: list[LayerSignal | None]
) -> torch.Tensor:
    """Return a tensor with the measured moments of a module's output.

    Args:
        run: the interpreter.
        row: the measured row of the module.
        inputs: the tensors that went into it.
        before: the measured rows whose outputs they are; the gradient that goes back to one of them is the measured.
    """

    class Measured(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
            out = torch.empty(row.shape or (), dtype=like.dtype, device=like.device)
            run.memory.put(out, _signal(run, row.mean, row.q, row.c, out))
            return out

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor | None, ...]:
            return tuple(_gradient(run, t, known) for t, known in zip(inputs, before, strict=True))

    out: torch.Tensor = Measured.apply(*inputs)  # type: ignore[no-untyped-call]
    return out


def _gradient(run: Interpreter, tensor: torch.Tensor, row: LayerSignal | None) -> torch.Tensor | None:
    if not tensor.is_floating_point():
        return None
    gradient = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    known: Value = Unknown("a gradient that goes back through a module that was not predicted")
    if row is not None and row.grad_q == row.grad_q:
        known = _signal(run, 0.0, row.grad_q, row.grad_c, None)
    run.memory.put(gradient, known)
    return gradient


def _signal(run: Interpreter, mean: float, q: float, c: float, out: torch.Tensor | None) -> Signal:
    """Return a signal of these moments; without `out` a gradient."""
    r = run.batch.followed
    d = q * (1 - (c if c == c else 0.0)) * (1 - np.eye(r))
    moments = Moments(np.full(r, mean), np.full(r, q), d, CERTAIN)
    if out is None:
        return Signal(moments, base=moments, mark="approximate")
    source = gaussian(moments, max(out.numel() // run.batch.size, 1), run.batch)
    return Signal(moments, Wave(source, source.nodes, gaussian=True), mark="approximate")
