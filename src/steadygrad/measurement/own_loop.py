"""A loop around the user's own training step, recorded as a plain one is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .foreach_norm import foreach_norm
from .gradient_edits import Edits
from .gradient_watch import GradientWatch
from .record import Record
from .scalar_loss import Loss, outputs_of
from .schedules import largest_rate

# Batches that a loop may gather the gradients of before its first step.
_GATHERED = 32


@dataclass(kw_only=True, eq=False)
class OwnLoop:
    """Calls a step with batch after batch, and looks at the optimizer through its hooks.

    The loss is taken by itself before each step, since a step may return what it likes: a loss, a loss over the number
    of batches that it gathers, or nothing.

    Attributes:
        model: that the step trains.
        loss_fn: takes (outputs, targets), returns a scalar.
        optimizer: whose steps are recorded.
        step: takes a batch.
        clip: largest global norm that a gradient is shortened to before a step; None leaves it alone.
        edits: what hooks on parameters do.
    """

    model: nn.Module
    loss_fn: Loss
    optimizer: torch.optim.Optimizer
    step: Callable[[Any], Any]
    clip: float | None = None
    edits: Edits = field(default_factory=Edits)
    _left: dict[int, torch.Tensor] = field(default_factory=dict)
    _given: float = 0.0
    _old: list[torch.Tensor] = field(default_factory=list)
    _depth: int = 0
    _watch: GradientWatch = field(default_factory=lambda: GradientWatch(lives={}))

    def __post_init__(self) -> None:
        stepped = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.parameters: list[torch.Tensor] = [p for p in stepped if p.requires_grad]

    @contextmanager
    def watching(self, record: Record) -> Iterator[None]:
        """Hook parameters and optimizer; unhook at the end."""
        with ExitStack() as stack:
            for parameter in self.parameters:
                hook: Any = parameter.register_post_accumulate_grad_hook(self._left_by_backward)
                stack.callback(hook.remove)
            before = self.optimizer.register_step_pre_hook(lambda *_: self._before(record))
            after = self.optimizer.register_step_post_hook(lambda *_: self._after(record))
            stack.callback(before.remove)
            stack.callback(after.remove)
            yield

    def step_(self, batch: Any, record: Record) -> None:
        """Call the step once."""
        inputs, targets = batch
        with torch.no_grad():
            value = float(self.loss_fn(outputs_of(self.model, inputs), targets))
        record.losses.append(value)
        if not math.isfinite(value):
            record.nonfinite = "loss"
            return
        self._depth = 0
        self.edits.begin()
        if self._watch.steps or len(record.losses) > _GATHERED:
            self.step(batch)
            return
        # Whether the loss is multiplied by a scale shows by the first step of the optimizer.
        with GradientWatch.over(self.parameters) as self._watch:
            self.step(batch)

    def _left_by_backward(self, parameter: torch.Tensor) -> None:
        self._left[id(parameter)] = foreach_norm([parameter.grad])

    def _before(self, record: Record) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        record.rates.append(largest_rate(self.optimizer))
        self._given = self._norm()
        if not math.isfinite(self._given):
            record.nonfinite = record.nonfinite or "gradient"
        elif self.clip is not None and self._given > self.clip:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], self.clip / self._given)
        self._old = [p.detach().clone() for p in self.parameters]

    def _after(self, record: Record) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        now, left = self._norm(), math.hypot(*(float(x) for x in self._left.values()))
        used = now if 0 < now < math.inf else self._given
        # Gradients of a loss that is multiplied by a scale are told by what the optimizer is given.
        left = left if 0 < left < math.inf and self._watch.unscaled == 1 else used
        record.gradient_norms.append(left / self.edits.factor())
        cut = used / left if left > 0 and self.clip is None else 1.0
        record.clipped.append(cut * self.edits.factor())
        size = float(foreach_norm(self._old))
        moved = float(foreach_norm(torch._foreach_sub([p.detach() for p in self.parameters], self._old)))
        record.update_ratios.append(moved / size if size > 0 else math.inf if moved else 0.0)
        if not math.isfinite(moved):
            record.nonfinite = record.nonfinite or "weights"
        self._left.clear()

    def _norm(self) -> float:
        return float(foreach_norm([p.grad for p in self.parameters]))
