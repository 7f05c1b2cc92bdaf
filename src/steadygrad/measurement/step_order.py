"""Whether a step of an optimizer clips gradients before it moves weights, or after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.tracing import SourceLine, source_line

from .gradient_watch import clipping_limit, memory_of, written


@dataclass(frozen=True, kw_only=True)
class ClippedAt:
    """A line that clips gradients.

    Attributes:
        line: the user's; None where it is not known.
        limit: its threshold.
    """

    line: SourceLine | None
    limit: float


class StepOrder(TorchDispatchMode):
    """Sees what operators write, in the order in which they do: into weights, or into gradients, to clip them.

    Attributes:
        early: clipping that a write into a weight came after.
        late: clipping that none came after.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> weight.grad = torch.ones(2)
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> with StepOrder([weight]) as order:
    ...     optimizer.step()
    ...     _ = torch.nn.utils.clip_grad_norm_([weight], 0.5)
    >>> [clipped.limit for clipped in order.late]
    [0.5]
    """

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = list(parameters)
        self.early: list[ClippedAt] = []
        self.late: list[ClippedAt] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func._schema.is_mutable and (places := {memory_of(x) for x in written(func, args, kwargs or {})}):
            if not places.isdisjoint(memory_of(p) for p in self.parameters):
                self.early += self.late
                self.late = []
            elif (limit := clipping_limit()) is not None and not places.isdisjoint(self._gradients()):
                self.late.append(ClippedAt(line=source_line(), limit=limit))
        return found

    def _gradients(self) -> set[int]:
        return {memory_of(p.grad) for p in self.parameters if p.grad is not None and not p.grad.is_sparse}
