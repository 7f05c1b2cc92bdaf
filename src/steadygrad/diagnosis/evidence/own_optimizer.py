"""What an optimizer of the user's own class does with gradients in a plain loop: zero_grad, backward, step."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, Self

import torch

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.foreach_norm import foreach_norm
from steadygrad.measurement.gradient_life import is_empty
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.step_order import ClippedAt, StepOrder
from steadygrad.measurement.trial import needs_closure
from steadygrad.setup import Setup

from .clean_batches import clean_batches
from .collector import Collector, Unavailable

# The second step shows what stands from the first, the third that it was no accident of the first.
STEPS = 3

_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class OwnOptimizer:
    """The record of a few steps of the plain loop, put back.

    Attributes:
        steps: how many were made; 0 where the optimizer is torch's own, or the loop is the user's.
        standing: norm of the gradients that `zero_grad` first left as a step that moved their weights had used them.
        standing_numbers: how many numbers those have.
        numbers: how many the optimizer holds.
        late: clipping behind the last write into a weight, where no step clips before and `zero_grad` takes it away.
    """

    steps: int = 0
    standing: float = 0.0
    standing_numbers: int = 0
    numbers: int = 0
    late: tuple[ClippedAt, ...] = ()

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Train a plain loop for a few steps where the optimizer's `zero_grad` or `step` is the user's own."""
        setup = collector.setup
        optimizer = setup.optimizer
        if setup.step is not None or optimizer is None or not is_own(optimizer) or needs_closure(optimizer):
            return cls()
        try:
            batches = clean_batches(collector, STEPS)
            collector.part("steps of the optimizer", _SECONDS, passes=float(STEPS))
        except Unavailable:
            return cls()
        pairs = [(b.inputs, b.targets) for b in batches]
        loop = _Loop(setup, [p for group in optimizer.param_groups for p in group["params"]])
        with trial_of(setup), torch.enable_grad():
            setup.model.train()
            try:
                for i in range(STEPS):
                    loop.step_(*pairs[i % len(pairs)])
            except Exception:  # what the user's code raises is told where it is trained
                return cls()
        return cls(
            steps=STEPS,
            standing=loop.standing,
            standing_numbers=loop.standing_numbers,
            numbers=sum(p.numel() for p in loop.held),
            late=tuple(dict.fromkeys(loop.late)),
        )


def is_own(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether `zero_grad` or `step` is not torch's.

    >>> class Mine(torch.optim.SGD):
    ...     def zero_grad(self, set_to_none=True):
    ...         pass
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> [is_own(kind([weight], lr=0.1)) for kind in (Mine, torch.optim.SGD)]
    [True, False]
    """
    methods: list[Any] = [optimizer.zero_grad, optimizer.step]
    return any(not str(getattr(inspect.unwrap(m), "__module__", "")).startswith("torch.") for m in methods)


class _Loop:
    """The plain loop, and what its steps leave."""

    def __init__(self, setup: Setup, held: list[torch.Tensor]) -> None:
        self.setup, self.held = setup, held
        self.used: dict[int, torch.Tensor] = {}
        self.standing, self.standing_numbers = 0.0, 0
        self.behind: list[ClippedAt] = []
        self.late: list[ClippedAt] = []

    def step_(self, inputs: Any, targets: Any) -> None:
        setup = self.setup
        assert setup.optimizer is not None
        assert setup.loss_fn is not None
        setup.optimizer.zero_grad()
        self._look()
        setup.loss_fn(outputs_of(setup.model, inputs), targets).backward()
        before = [p.detach().clone() for p in self.held]
        with StepOrder(self.held) as order:
            setup.optimizer.step()
        self.behind = [] if order.early else order.late
        self.used = {
            id(p): p.grad.clone()
            for p, was in zip(self.held, before, strict=True)
            if p.grad is not None and not p.grad.is_sparse and not is_empty(p.grad) and not torch.equal(p, was)
        }

    def _look(self) -> None:
        """What is left of the gradients that the last step used."""
        stale = [p for p in self.held if id(p) in self.used and _is_as_it_was(p.grad, self.used[id(p)])]
        if stale and not self.standing:
            self.standing = float(foreach_norm([self.used[id(p)] for p in stale]))
            self.standing = self.standing if math.isfinite(self.standing) else math.inf
            self.standing_numbers = sum(p.numel() for p in stale)
        if self.used and all(is_empty(p.grad) for p in self.held):
            self.late += self.behind


def _is_as_it_was(gradient: torch.Tensor | None, used: torch.Tensor) -> bool:
    return gradient is not None and not gradient.is_sparse and torch.equal(gradient, used)
