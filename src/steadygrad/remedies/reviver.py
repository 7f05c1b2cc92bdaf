"""Revival in a run: dead over a window of batches, drawn anew, told as findings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from steadygrad.errors import not_allowed
from steadygrad.finding import Finding, Level
from steadygrad.guard import WeakHook

from .optimizer_rows import check_optimizer
from .revive import Revival, revive_


class Reviver:
    """What a guard calls after each accepted step: every so often it revives units dead over the last batches.

    It keeps references to the inputs of the last forward passes in training mode, and runs them again when it looks.

    Args:
        model: of the run; unwrapped.
        optimizer: of the run.
        every: accepted steps between two looks, >= 1.
        window: batches that a unit must be dead on, >= 1.
        generator: for the draws.

    Raises:
        ValueError: `every` or `window` is below 1.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> reviver = Reviver(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1)
    >>> _ = model[0].bias.data.copy_(torch.tensor([-1e3, 1.0])); _ = model(torch.ones(4, 1))
    >>> [finding.message for finding in reviver(1)]
    ['1 of 2 units of `0` were dead on the last 1 batches and are drawn anew.']
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 200,
        window: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        for name, value in (("every", every), ("window", window)):
            if value < 1:
                raise ValueError(not_allowed(name, "must be >= 1", value))
        check_optimizer(optimizer)
        self._model, self._optimizer, self._every, self._generator = model, optimizer, every, generator
        self._batches: deque[tuple[Any, ...]] = deque(maxlen=window)
        self._hook = model.register_forward_pre_hook(WeakHook(self._remember))
        self._steps = 0

    def __call__(self, step: int) -> Iterable[Finding]:
        """Count an accepted step; at a look, revive and say what was done."""
        self._steps += 1
        if self._steps % self._every or not self._batches:
            return []
        batches = list(self._batches)
        done = revive_(self._model, batches, optimizer=self._optimizer, generator=self._generator)
        return [_finding(self._model, revival, step, len(batches)) for revival in done]

    def close(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()

    def _remember(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module.training:
            self._batches.append(tuple(x.detach() if isinstance(x, Tensor) else x for x in inputs))


def _finding(model: nn.Module, revival: Revival, step: int, batches: int) -> Finding:
    weight = model.get_submodule(revival.path).weight
    assert isinstance(weight, Tensor)
    what = "are drawn anew" if revival.revived else f"are left alone: {revival.reason}"
    count, units = len(revival.dead), len(weight)
    return Finding(
        code="GRD005",
        name="revived-units" if revival.revived else "dead-units-left",
        level=Level.INFO if revival.revived else Level.WARN,
        message=f"{count} of {units} units of `{revival.path}` were dead on the last {batches} batches and {what}.",
        module=revival.path,
        measured=count / units,
        expected=0.0,
        step=step,
    )
