"""How far back in time the gradient of a recurrent layer reaches, and how it grows on the way."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from steadygrad.diagnosis.runs.remedy import PART
from steadygrad.diagnosis.trainable_depth import LOST, log_ratio
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Batch

from .clean_batches import clean_batches
from .collector import Collector
from .linear_memory import needed
from .measured import Measured
from .sampled import Sampled

# Calls of one layer in a pass that make a loop over the steps of a sequence.
_UNROLLED = 8


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One recurrent layer, and how much its loss depends on how a sequence began.

    Attributes:
        path: the layer's path.
        steps: length of the sequences.
        reached: steps, from the end on, whose squared gradient is within e^-12 of the largest.
        logarithm: ln of the squared gradient at the first step over the largest.
        at_first: squared gradient at the first step.
        largest: the largest of any step.
        examples: in the batch.
        needed: share of the targets' variance that a linear fit explains by the steps that are not reached and not by
            the others; NaN where none was made.
        growth: ln of the squared gradient at the first step over that at the last step that has one; the median
            example's.
    """

    path: str
    steps: int
    reached: int
    logarithm: float
    at_first: float
    largest: float
    examples: int
    needed: float = math.nan
    growth: float = math.nan

    @property
    def is_needed(self) -> bool:
        """Whether that is a tenth or more."""
        return self.needed > PART


@dataclass(frozen=True, kw_only=True)
class Memories:
    """Recurrent layers that forget, and those in which a gradient takes off.

    Attributes:
        short: those whose gradient at the first step is below e^-12 of the largest.
        wild: those whose gradient at the first step is beyond e^12 times that at the last.
    """

    short: tuple[Memory, ...]
    wild: tuple[Memory, ...] = ()

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Differentiate the loss by what enters each recurrent layer, or a loop over steps by the user's own code."""
        model, loss_fn = collector.setup.model, collector.setup.loss_fn
        layers = {p: m for p, m in model.named_modules() if isinstance(m, nn.RNNBase) and not m.bidirectional}
        if loss_fn is None or not (layers or _may_loop(collector)):
            return cls(short=())
        collector.afford("how far recurrent layers remember", 1.0)
        collector.get(Measured)  # what the user's own code raises is told there
        (batch,) = clean_batches(collector, 1)
        modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
        try:
            with untouched(*modules), torch.enable_grad():
                found = _of_layers(model, loss_fn, batch, layers) if layers else _of_loop(model, loss_fn, batch)
        except Exception as error:
            collector.note(f"How far recurrent layers remember was not looked at: {type(error).__name__}.")
            return cls(short=())
        short = [memory for memory in found if memory.logarithm < -LOST]
        batches = collector.get(Sampled).batches if short else ()
        return cls(
            short=tuple(replace(m, needed=needed(batches, m.steps - m.reached)) for m in short),
            wild=tuple(memory for memory in found if memory.growth > LOST),
        )


def _may_loop(collector: Collector) -> bool:
    """Whether examples are sequences of numbers; what runs over them shows when the model runs."""
    x = collector.get(Sampled).first.inputs
    return isinstance(x, Tensor) and x.is_floating_point() and x.dim() == 3 and x.shape[1] >= _UNROLLED


def _of_layers(model: nn.Module, loss_fn: Any, batch: Batch, layers: dict[str, nn.RNNBase]) -> list[Memory]:
    entered: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for path, module in layers.items():
            stack.callback(module.register_forward_pre_hook(_cut(path, entered)).remove)
        loss = loss_fn(outputs_of(model, batch.inputs), batch.targets)
        found = torch.autograd.grad(loss, list(entered.values()), allow_unused=True)
    memories = [
        _memory(path, g if layers[path].batch_first else g.transpose(0, 1))
        for path, g in zip(entered, found, strict=True)
        if g is not None
    ]
    return [m for m in memories if m is not None]


def _of_loop(model: nn.Module, loss_fn: Any, batch: Batch) -> list[Memory]:
    """By the inputs, where a layer is called at every step of them."""
    calls: Counter[str] = Counter()
    x = batch.inputs.detach().clone().requires_grad_()
    with ExitStack() as stack:
        for path, module in model.named_modules():
            if next(module.children(), None) is None:
                count = module.register_forward_pre_hook(lambda *_, path=path: calls.update([path]))
                stack.callback(count.remove)
        loss = loss_fn(outputs_of(model, x), batch.targets)
    often = [path for path, times in calls.items() if times >= x.shape[1] - 1 and _is_layer(model, path)]
    if not often or not loss.requires_grad:
        return []
    (found,) = torch.autograd.grad(loss, x, allow_unused=True)
    memory = None if found is None else _memory(often[-1], found)
    return [] if memory is None else [memory]


def _is_layer(model: nn.Module, path: str) -> bool:
    return next(model.get_submodule(path).parameters(recurse=False), None) is not None


def _cut(path: str, entered: dict[str, Tensor]) -> Any:
    """Give the layer a leaf in place of its input, so that only its own steps pass the gradient on."""

    def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3:
            return None
        entered[path] = args[0].detach().requires_grad_()
        return (entered[path], *args[1:])

    return before


def _memory(path: str, gradient: Tensor) -> Memory | None:
    """From a gradient [examples, steps, features]."""
    steps = gradient.double()
    sizes = steps.square().sum((0, 2))
    largest = float(sizes.max())
    if not len(sizes) > 1 or not 0 < largest < float("inf"):
        return None
    seen = (sizes > largest * torch.exp(torch.tensor(-LOST, dtype=torch.float64))).nonzero()
    return Memory(
        path=path,
        steps=len(sizes),
        reached=len(sizes) - int(seen[0]),
        logarithm=log_ratio(float(sizes[0]), largest),
        at_first=float(sizes[0]),
        largest=largest,
        examples=len(steps),
        growth=_growth(steps.square().sum(2)),
    )


def _growth(sizes: Tensor) -> float:
    """From squared gradients [examples, steps], of examples that have one at the first step."""
    each = sizes[sizes[:, 0] > 0]
    if not len(each):
        return math.nan
    place = torch.arange(each.shape[1], device=each.device)
    last = torch.where(each > 0, place, 0).amax(1, keepdim=True)
    return float((each[:, 0] / each.gather(1, last)[:, 0]).log().median())
