"""Losses and gradient norms of single batches at the weights as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.errors import in_short
from steadygrad.measurement import Operation, operations
from steadygrad.measurement.bad_number import BadNumber
from steadygrad.measurement.scalar_loss import outputs_of

from .collector import Collector, Unavailable
from .measured import Measured
from .probe import Probe

# The median absolute deviation of fewer numbers says little.
LEAST_BATCHES = 8

_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class BatchGradients:
    """A loss and a norm a batch, with the model in training mode.

    Attributes:
        losses: of the probe's batches, as many as there is time for.
        norms: Euclidean, over all parameters.
    """

    losses: tuple[float, ...]
    norms: tuple[float, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run each batch forward and backward."""
        from steadygrad.guard.clip.gradients import Gradients

        probe, setup = collector.get(Probe), collector.setup
        budget = collector.part("the gradients of single batches", _SECONDS, passes=LEAST_BATCHES)
        parameters = [p for p in setup.model.parameters() if p.requires_grad]
        loss_fn: Any = setup.loss_fn
        losses: list[float] = []
        norms: list[float] = []
        try:
            with trial_of(setup), torch.enable_grad():
                setup.model.train()
                for batch in probe.batches:
                    for parameter in parameters:
                        parameter.grad = None
                    loss = loss_fn(outputs_of(setup.model, batch.inputs), batch.targets)
                    loss.backward()
                    losses.append(float(loss.detach()))
                    norms.append(float(Gradients(parameters).total()))
                    if budget.is_over and len(norms) >= LEAST_BATCHES:
                        break
        except Exception as error:
            raise Unavailable(f"The gradients of single batches were not looked at: {in_short(error)}.") from error
        return cls(losses=tuple(losses), norms=tuple(norms))


@dataclass(frozen=True, kw_only=True, eq=False)
class LaterBatch:
    """A finite batch, not the first, of which the model makes numbers that are not finite before it is trained.

    Attributes:
        index: its place among those that were looked at; None where there is none.
        batches: how many were looked at.
        forward: the operator that made the first such number of the forward pass, and how.
        backward: the same of the backward pass.
    """

    index: int | None = None
    batches: int = 0
    forward: tuple[Operation, BadNumber] | None = None
    backward: tuple[Operation, BadNumber] | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look through the batches where the first one is well, and trace the first that is not."""
        try:
            if collector.get(Measured).observation.first_nonfinite is not None:
                return cls()
            found = collector.get(BatchGradients)
        except Unavailable:
            return cls()
        pairs = enumerate(zip(found.losses, found.norms, strict=True))
        bad = next((i for i, pair in pairs if not all(map(math.isfinite, pair))), None)
        if bad is None:
            return cls(batches=len(found.losses))
        batch, setup = collector.get(Probe).batches[bad], collector.setup
        try:
            with trial_of(setup):
                run = operations(setup.model.train(), batch.inputs, batch.targets, setup.loss_fn)
        except Exception:  # what cannot be traced is told by what a trial shows
            return cls(batches=len(found.losses))
        # A mask of -inf is harmless where the loss is finite.
        forward = None if math.isfinite(found.losses[bad]) else run.forward_bad
        return cls(index=bad, batches=len(found.losses), forward=forward, backward=run.backward_bad)
