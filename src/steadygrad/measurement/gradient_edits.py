"""How much the hooks on parameters shorten a gradient before an optimizer sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(eq=False)
class Edits:
    """Squared norms of gradients as they arrive at hooked parameters and as they are left.

    A hook that clips works before `.grad` is written: what arrives is seen by a hook that stands before it.

    >>> weight = torch.nn.Parameter(torch.ones(4))
    >>> _ = weight.register_hook(lambda g: g / 10)
    >>> with Edits.watched([weight]) as edits:
    ...     weight.sum().backward()
    ...     round(edits.factor(), 3)
    0.1
    """

    arrived: float = 0.0
    parameters: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    @contextmanager
    def watched(cls, parameters: Sequence[torch.Tensor]) -> Iterator[Edits]:
        """Look at the parameters that have hooks of the user's own; unhook at the end."""
        edits = cls(parameters=[p for p in parameters if getattr(p, "_backward_hooks", None)])
        handles = [_first_hook(p, edits) for p in edits.parameters]
        try:
            yield edits
        finally:
            for handle in handles:
                handle.remove()

    def begin(self) -> None:
        """Forget the last backward pass."""
        self.arrived = 0.0

    def factor(self) -> float:
        """By what the hooks multiplied the norm of the gradients of hooked parameters; 1 where there are none."""
        if not self.arrived or not math.isfinite(self.arrived):
            return 1.0
        left = sum(float(p.grad.detach().norm()) ** 2 for p in self.parameters if p.grad is not None)
        return math.sqrt(left / self.arrived) if 0 < left < math.inf else 1.0


def _first_hook(parameter: torch.Tensor, edits: Edits) -> Any:
    def arrive(gradient: torch.Tensor) -> None:
        edits.arrived += float(gradient.detach().norm()) ** 2

    handle: Any = parameter.register_hook(arrive)
    # Hooks run in the order in which they came into the dictionary, so the others come in again after this one.
    hooks: Any = parameter._backward_hooks
    for key in [key for key in hooks if key != handle.id]:
        hooks[key] = hooks.pop(key)
    return handle
