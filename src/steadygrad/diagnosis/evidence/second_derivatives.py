"""Derivatives that the user's own code takes, of derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.tracing import SourceLine, source_line

from .clean_batches import clean_batches
from .collector import Collector
from .measured import Measured


@dataclass(frozen=True, kw_only=True)
class SecondDerivatives:
    """What `torch.autograd.grad` gave in a forward pass or in a loss where it was asked for what it had given before.

    Attributes:
        taken: how many there were.
        zero: lines of those that were zero in every entry, though the derivative before was not.
    """

    taken: int
    zero: tuple[SourceLine | None, ...]

    passes: ClassVar[float] = 1 / 2
    what: ClassVar[str] = "derivatives of derivatives"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run model and loss once, with the calls watched."""
        collector.get(Measured)  # what the user's own code raises is told there
        (batch,), setup = clean_batches(collector, 1), collector.setup
        modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
        try:
            with untouched(*modules), torch.enable_grad(), _Watch() as watch:
                outputs = outputs_of(setup.model, batch.inputs)
                if setup.loss_fn is not None:
                    setup.loss_fn(outputs, batch.targets)
        except Exception:  # code that cannot run under a mode takes none that could be seen
            return cls(taken=0, zero=())
        return cls(taken=watch.taken, zero=tuple(watch.zero))


class _Watch(TorchFunctionMode):
    """Follow what comes of derivatives that are not zero, up to the next derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.zero: list[SourceLine | None] = []
        self._kept: list[Tensor] = []
        self._derived: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.autograd.grad:
            self._look(args[0] if args else (kwargs or {}).get("outputs"), result)
        elif isinstance(result, Tensor) and any(id(x) in self._derived for x in args if isinstance(x, Tensor)):
            self._keep(result)
        return result

    def _look(self, of: Any, result: Any) -> None:
        asked = [of] if isinstance(of, Tensor) else list(of or ())
        found = [x for x in result if isinstance(x, Tensor)]
        if any(map(torch._C._functorch.is_functorch_wrapped_tensor, [*asked, *found])):
            return  # a batch of derivatives has no numbers yet
        moves = any(bool(x.detach().any()) for x in found)
        if any(id(x) in self._derived for x in asked):
            self.taken += 1
            if not moves:
                self.zero.append(source_line())
        if moves:
            for x in found:
                self._keep(x)

    def _keep(self, x: Tensor) -> None:
        self._kept.append(x)  # so that no identity is met twice
        self._derived.add(id(x))
