"""What a few steps of training make of the setup as it is, and of the same setup with one scale put right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.budget import Budget
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.setup import Batch, Setup

# As many steps as tell a setup that runs away or stands still from one that moves; the mean over the last quarter
# of them is compared.
STEPS = 40
_TAIL = 10
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


def run_steps(
    setup: Setup,
    batches: tuple[Batch, ...],
    *,
    baseline: float,
    inputs: Callable[[Tensor], Tensor] | None = None,
    targets: Callable[[Tensor], Tensor] | None = None,
    scale: float = 1.0,
) -> Steps:
    """Train for a few steps, put everything back, and return the losses over `baseline`.

    The setup itself is trained: a copy of an optimizer lacks what its class adds to torch's own.

    Args:
        setup: with a loss and an optimizer; afterwards it is as it was.
        batches: what to train on, again from the first one where they end.
        baseline: the loss of the best constant guess.
        inputs: what to do to inputs before the model sees them.
        targets: what to do to targets before the loss sees them.
        scale: factor of the loss.
    """
    model, optimizer, loss_fn = setup.model, setup.optimizer, setup.loss_fn
    assert optimizer is not None
    assert loss_fn is not None
    losses: list[float] = []
    budget = Budget(_SECONDS)
    with trial_of(setup), torch.enable_grad():
        for batch in islice(cycle(batches), STEPS):
            x = batch.inputs if inputs is None else inputs(batch.inputs)
            y = batch.targets if targets is None or batch.targets is None else targets(batch.targets)
            optimizer.zero_grad()
            loss = loss_fn(outputs_of(model, x), y) * scale
            losses.append(float(loss.detach()) / baseline)
            if not math.isfinite(losses[-1]):
                return Steps(losses=tuple(losses), finished=False)
            loss.backward()
            optimizer.step()
            if len(losses) >= 2 * _TAIL and budget.is_over:
                break
        return Steps(losses=tuple(losses), finished=_finite(model))


def _finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())
