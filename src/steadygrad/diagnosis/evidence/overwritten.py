"""Whether the model or the loss writes into the batch that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import copied, tensors_in, user_code

from .collector import Collector, Unavailable
from .scanned import Scanned


@dataclass(frozen=True, kw_only=True)
class Overwritten:
    """A tensor of the batch that is another one afterwards, and again another one after a second time.

    Attributes:
        part: the tensor, by where it is in the batch; "" where all stay, or come to rest after the first time.
        by: who writes.
        change: root mean square of the second change over that of the numbers.
        kept: the data hand out the same memory in the next pass, so that changes add up.
        entries: numbers of the tensor.
    """

    part: str = ""
    by: Literal["model", "loss"] = "model"
    change: float = 0.0
    kept: bool = False
    entries: int = 0

    passes: ClassVar[float] = 1.0
    what: ClassVar[str] = "whether the batch is written into"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run both twice on one copy; what comes later gets a loss that works on copies where it writes."""
        clean, setup = collector.get(Scanned).clean, collector.setup
        if clean is None:
            raise Unavailable("No batch is free of NaN and infinity, so none was handed over twice.")
        modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
        inputs, targets = copied(clean.inputs), copied(clean.targets)
        try:
            with untouched(*modules), torch.enable_grad():
                found = cls._of("model", lambda: outputs_of(setup.model, inputs), tensors_in(inputs))
                if not found.part and setup.loss_fn is not None and targets is not None:
                    outputs, loss_fn = outputs_of(setup.model, copied(clean.inputs)), setup.loss_fn
                    found = cls._of("loss", lambda: loss_fn(copied(outputs), targets), tensors_in(targets, "targets"))
        except Exception:  # such as a model that needs a gradient: what raises is told where it is measured
            return cls()
        if found.by == "loss" and found.part:
            collector.setup = replace(setup, loss_fn=_OnCopies(setup.loss_fn))
        return replace(found, kept=bool(found.part) and _hands_out_again(setup.data))

    @classmethod
    def _of(cls, by: Literal["model", "loss"], call: Callable[[], Any], tensors: dict[str, Tensor]) -> Self:
        call()
        once = {name: x.clone() for name, x in tensors.items()}
        call()
        for name, x in tensors.items():
            moved = _change(once[name], x)
            if moved > math.sqrt(torch.finfo(x.dtype if x.is_floating_point() else torch.double).eps):
                return cls(part=name, by=by, change=moved, entries=x.numel())
        return cls()


def _change(was: Tensor, now: Tensor) -> float:
    before, after = (x.to(torch.complex128 if x.is_complex() else torch.double) for x in (was, now))
    size, moved = float(before.abs().square().mean()), float((after - before).abs().square().mean())
    return math.sqrt(moved / size) if size > 0 else math.inf if moved else 0.0


def _hands_out_again(data: Any) -> bool:
    """Whether two passes begin with the same memory; the data of a check are copies of what the user's give."""
    given: Iterable[Any] = getattr(data, "dataset", data)
    with user_code("`data`"):
        first, again = (tensors_in(next(iter(given), None), "batch") for _ in range(2))
    return any(
        a.data_ptr() == b.data_ptr() and a.numel() > 0 for a, b in zip(first.values(), again.values(), strict=False)
    )


class _OnCopies(nn.Module):
    """A loss that gets targets in memory of their own."""

    def __init__(self, loss_fn: Any) -> None:
        super().__init__()
        self.loss_fn = loss_fn

    def forward(self, outputs: Any, targets: Any) -> Any:
        return self.loss_fn(outputs, copied(targets))
