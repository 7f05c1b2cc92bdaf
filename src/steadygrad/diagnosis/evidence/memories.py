"""How far back in time the gradient of a recurrent layer reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from steadygrad.diagnosis.trainable_depth import LOST, log_ratio
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .clean_batches import clean_batches
from .collector import Collector
from .measured import Measured


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One recurrent layer whose loss hardly depends on how a sequence began.

    Attributes:
        path: the layer's path.
        steps: length of the sequences.
        reached: steps, from the end on, whose squared gradient is within e^-12 of the largest.
        logarithm: ln of the squared gradient at the first step over the largest.
        at_first: squared gradient at the first step.
        largest: the largest of any step.
        examples: in the batch.
    """

    path: str
    steps: int
    reached: int
    logarithm: float
    at_first: float
    largest: float
    examples: int


@dataclass(frozen=True, kw_only=True)
class Memories:
    """Recurrent layers that forget.

    Attributes:
        short: those whose gradient at the first step is below e^-12 of the largest.
    """

    short: tuple[Memory, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Differentiate the loss by what enters each recurrent layer that reads in one direction."""
        model, loss_fn = collector.setup.model, collector.setup.loss_fn
        layers = {p: m for p, m in model.named_modules() if isinstance(m, nn.RNNBase) and not m.bidirectional}
        if not layers or loss_fn is None:
            return cls(short=())
        collector.afford("how far recurrent layers remember", 1.0)
        collector.get(Measured)  # what the user's own code raises is told there
        (batch,) = clean_batches(collector, 1)
        entered: dict[str, Tensor] = {}
        handles = [m.register_forward_pre_hook(_cut(path, entered)) for path, m in layers.items()]
        modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
        try:
            with untouched(*modules), torch.enable_grad():
                loss = loss_fn(outputs_of(model, batch.inputs), batch.targets)
                found = torch.autograd.grad(loss, list(entered.values()), allow_unused=True)
        except Exception as error:
            collector.note(f"How far recurrent layers remember was not looked at: {type(error).__name__}.")
            return cls(short=())
        finally:
            for handle in handles:
                handle.remove()
        memories = [_memory(path, layers[path], g) for path, g in zip(entered, found, strict=True) if g is not None]
        return cls(short=tuple(m for m in memories if m is not None and m.logarithm < -LOST))


def _cut(path: str, entered: dict[str, Tensor]) -> Any:
    """Give the layer a leaf in place of its input, so that only its own steps pass the gradient on."""

    def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3:
            return None
        entered[path] = args[0].detach().requires_grad_()
        return (entered[path], *args[1:])

    return before


def _memory(path: str, layer: nn.RNNBase, gradient: Tensor) -> Memory | None:
    steps = gradient.double() if layer.batch_first else gradient.double().transpose(0, 1)
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
    )
