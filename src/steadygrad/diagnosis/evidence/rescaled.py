"""What a few steps of training make of the setup as it is, and of the same setup with one scale put right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.trial import train
from steadygrad.setup import Setup, bound_step

from .collector import Collector, Unavailable
from .sampled import Sampled

Change = Callable[[Any], Any]

# As many steps as tell a setup that runs away or stands still from one that moves; the mean over the last quarter
# of them is compared.
STEPS = 40
_TAIL = 10
LEAST = 2 * _TAIL
_SECONDS = 1.5
# A constant that follows a few batches is as much better than the best of all by chance: a twentieth, by convention.
_NOTED = 0.05


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The loss over a few steps.

    Attributes:
        losses: of the batch of each step, before the step; it ends at the first that is not finite.
        finished: whether all were finite.
    """

    losses: tuple[float, ...]
    finished: bool

    @property
    def tail(self) -> tuple[float, float]:
        """Mean of the last losses and its standard error; infinite where the run broke off.

        >>> Steps(losses=(3.0, 1.0, 1.0), finished=True).tail[0]
        1.0
        """
        last = self.losses[-max(2, min(_TAIL, len(self.losses) // 4)) :]
        if not self.finished or len(last) < 2:
            return math.inf, 0.0
        values = torch.tensor(last, dtype=torch.float64)
        return float(values.mean()), float(values.std()) / math.sqrt(len(last))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The setup as it is against the mended one.

    Attributes:
        as_it_is: losses in units of `baseline`.
        mended: the same of the mended setup, in units of its own baseline.
        baseline: the loss of the best constant guess, as it is.
    """

    as_it_is: Steps
    mended: Steps
    baseline: float

    @property
    def hurts(self) -> bool:
        """Whether the setup is no better than a constant guess while the mended one is, and better than it.

        >>> good, bad = Steps(losses=(1.0, 0.5, 0.5), finished=True), Steps(losses=(1.0, 9.0), finished=False)
        >>> Comparison(as_it_is=bad, mended=good, baseline=1.0).hurts
        True
        """
        was, error = self.as_it_is.tail
        now, other_error = self.mended.tail
        spread = 2 * math.hypot(error, other_error)
        stuck = was + 2 * error > 1 - _NOTED
        return self.mended.finished and stuck and now < was - spread and not now > max(1.0, was / 2)

    @property
    def breaks(self) -> bool:
        """Whether the setup as it is ends in numbers that are not finite, or far above where a guess would be."""
        return not self.as_it_is.tail[0] < math.e**2


@dataclass(frozen=True, kw_only=True)
class AsItIs:
    """The setup's own steps on the first batches, which every mended setup is held against.

    Attributes:
        steps: losses as the loss function gives them.
    """

    steps: Steps

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Train for a few steps and put everything back."""
        return cls(steps=run_steps(collector))

    def over(self, baseline: float) -> Steps:
        """Return the losses in units of another one.

        >>> AsItIs(steps=Steps(losses=(2.0, 1.0), finished=True)).over(2.0).losses
        (1.0, 0.5)
        """
        return replace(self.steps, losses=tuple(x / baseline for x in self.steps.losses))


def run_steps(
    collector: Collector, *, inputs: Change | None = None, targets: Change | None = None, scale: float = 1.0
) -> Steps:
    """Train for a few steps, by the user's own step where there is one, put everything back, and return the losses.

    The setup itself is trained: a copy of an optimizer lacks what its class adds to torch's own.

    Args:
        collector: of a setup with a loss and an optimizer, on the batches that it looks at.
        inputs: what to do to inputs before the model sees them.
        targets: what to do to targets before the loss sees them.
        scale: factor of the loss, and so of every gradient.

    Raises:
        OutOfTime: twenty steps do not fit into what is left of the check.
        Unavailable: the setup raised before so many.
    """
    setup, batches = collector.setup, collector.get(Sampled).batches
    budget = collector.part("steps with one scale put right", _SECONDS, passes=LEAST)
    data = [(_changed(b.inputs, inputs), _changed(b.targets, targets)) for b in batches]
    loss_fn: Any = setup.loss_fn
    assert setup.optimizer is not None
    with trial_of(setup), _gradients_times(scale if setup.step else 1.0, setup):
        trial = train(
            setup.model,
            data,
            lambda outputs, y: loss_fn(outputs, y) * scale,
            setup.optimizer,
            steps=STEPS,
            seconds=budget.seconds,
            least=LEAST,
            step=bound_step(setup),
        )
    if trial.steps < LEAST and trial.ended:
        raise Unavailable(f"No steps with one scale put right could be tried: {trial.ended}.")
    return Steps(losses=trial.losses, finished=not trial.nonfinite)


def _changed(found: Any, change: Change | None) -> Any:
    return found if change is None or found is None else change(found)


@contextmanager
def _gradients_times(factor: float, setup: Setup) -> Iterator[None]:
    """What a step of the user's computes with a loss of its own: gradients as if that were multiplied."""
    held = [p for p in setup.model.parameters() if p.requires_grad] if factor != 1.0 else []
    handles: list[Any] = [p.register_hook(lambda g: g * factor) for p in held]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
