"""Trainable tensors that the model computes with and does not register."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .collector import Collector
from .loss_run import tensors
from .optimized import Optimized
from .sampled import Sampled


@dataclass(frozen=True, kw_only=True)
class Unregistered:
    """Leaves of the graph of the model's output that neither the model nor an optimizer knows of.

    Attributes:
        shapes: of each.
        numbers: how many numbers they hold together.
    """

    shapes: tuple[tuple[int, ...], ...]
    numbers: int

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "tensors that the model does not register"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model once and walk its graph; a model that raises here is another rule's matter."""
        model, optimized = collector.setup.model, collector.get(Optimized)
        known = {id(p) for p in model.parameters()} | optimized.held
        inputs = collector.get(Sampled).first.inputs
        known |= {id(p) for p in _of_loss(collector.setup.loss_fn)} | {id(x) for x in tensors(inputs)}
        found = _strangers(model, inputs, known)
        # What a forward pass makes anew, as the points at which a penalty takes a gradient, is no parameter.
        again = _strangers(model, inputs, known) if found else {}
        hidden = [leaf for key, leaf in found.items() if key in again]
        return cls(shapes=tuple(tuple(x.shape) for x in hidden), numbers=sum(x.numel() for x in hidden))


def _strangers(model: nn.Module, inputs: Any, known: set[int]) -> dict[int, Tensor]:
    """Leaves of one run that are not known, by identity."""
    try:
        with untouched(model), torch.enable_grad():
            found = {id(leaf): leaf for x in tensors(outputs_of(model, inputs)) for leaf in leaves(x)}
    except Exception:
        return {}
    return {key: leaf for key, leaf in found.items() if key not in known}


def leaves(x: Tensor) -> Iterator[Tensor]:
    """Yield the tensors that need a gradient and that one was computed from.

    >>> w = torch.ones(2, requires_grad=True)
    >>> [leaf is w for leaf in leaves((w * 2).sum())]
    [True]
    """
    seen: set[Any] = set()
    waiting = [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            yield leaf
        waiting += [before for before, _ in node.next_functions]


def _of_loss(loss_fn: Any) -> list[Tensor]:
    return list(loss_fn.parameters()) if isinstance(loss_fn, nn.Module) else []
