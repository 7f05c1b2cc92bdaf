"""A row for every call of a module without children, in the order in which the calls end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks

from steadygrad.fans import fans
from steadygrad.profile import LayerSignal

from .batch import Batch
from .interpreter import Interpreter
from .operators.positions import as_signal, parameter
from .outside import outside
from .spread import band
from .values import Draws, Fill, ParameterGradient, Signal, Unknown, Value


@dataclass(slots=True)
class Row:
    """One call: the module, what is known of its output, and of the gradient that came back to it."""

    path: str
    module: nn.Module
    output: Value
    gradient: Value = field(default_factory=lambda: Unknown("no gradient came back"))


class Rows:
    """Watches the calls of a model's modules while the interpreter runs."""

    def __init__(self, run: Interpreter) -> None:
        self.run = run
        self.rows: list[Row] = []
        self.stack: list[nn.Module] = []
        self.paths: dict[int, str] = {}

    def name(self, model: nn.Module) -> None:
        """Learn the paths of a model's modules."""
        self.paths = {id(module): path for path, module in reversed(list(model.named_modules()))}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Hook every module call; unhook at the end."""
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def where(self) -> str:
        """Return the path of the innermost module that is running."""
        return next((self.paths[id(m)] for m in reversed(self.stack) if id(m) in self.paths), "")

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()
        if id(module) not in self.paths or next(module.children(), None) is not None:
            return
        tensor = _first_tensor(output)
        if tensor is None:
            return
        with outside():
            row = Row(self.paths[id(module)], module, self.run.value(tensor))
        self.rows.append(row)
        if tensor.requires_grad:
            tensor.register_hook(lambda grad: self._backward(row, grad))

    def _backward(self, row: Row, grad: torch.Tensor) -> None:
        with outside():
            row.gradient = self.run.value(grad)


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, list | tuple):
        return next((t for x in output if (t := _first_tensor(x)) is not None), None)
    return None


def layer_signal(row: Row, run: Interpreter, weight_gradient: Value) -> LayerSignal:
    """Return a row of the profile from what is known at the end."""
    fan_in, fan_out = _fans(row.module)
    output = row.output
    known = parameter(run, output) if isinstance(output, Fill) else as_signal(run, output)
    moments = _forward(known, run) if known else {}
    gradient = as_signal(run, row.gradient)
    return LayerSignal(
        path=row.path,
        kind=type(row.module).__name__,
        fan_in=fan_in,
        fan_out=fan_out,
        **moments,
        **(_backward(gradient, run) if gradient else _of_parameter(row.gradient)),
        weight_grad_norm=_norm(weight_gradient, row.module),
        mark=_mark(known, gradient),
    )


def _fans(module: nn.Module) -> tuple[int | None, int | None]:
    try:
        found = fans(module)
    except TypeError:
        return None, None
    return found.fan_in, found.fan_out


def _mark(output: Signal | None, gradient: Signal | None) -> Any:
    if output is None:
        return "unknown"
    return "approximate" if "approximate" in (output.mark, gradient.mark if gradient else "exact") else "exact"


def _forward(known: Signal, run: Interpreter) -> dict[str, float]:
    q, low, high, c, signal = _moments(known, run)
    return {"mean": float(known.moments.mean.mean()), "q": q, "q_low": low, "q_high": high, "c": c, "signal": signal}


def _of_parameter(gradient: Value) -> dict[str, float]:
    """Of an output that is the same for every example, as looked-up positions are."""
    return {"grad_q": gradient.q} if isinstance(gradient, ParameterGradient) else {}


def _backward(known: Signal, run: Interpreter) -> dict[str, float]:
    q, low, high, c, _ = _moments(known, run)
    return {"grad_q": q, "grad_q_low": low, "grad_q_high": high, "grad_c": c}


def _moments(known: Signal, run: Interpreter) -> tuple[float, float, float, float, float]:
    batch: Batch = run.batch
    mean_q = float(known.moments.q.mean())
    q, low, high = band(mean_q, run.noises.of(known.moments.spread))
    d = batch.distinct_mean(known.moments.d)
    share = d / mean_q if mean_q > 0 else math.nan
    return q, low, high, 1 - share, q * share


def _norm(gradient: Value, module: nn.Module) -> float:
    weight = getattr(module, "weight", None)
    if not isinstance(gradient, ParameterGradient) or not isinstance(weight, torch.Tensor):
        return math.nan
    return math.sqrt(gradient.q * weight.numel())


def loss_of(value: Value) -> float:
    """Return the expected loss."""
    return float(value.values.double().mean()) if isinstance(value, Draws) else math.nan
