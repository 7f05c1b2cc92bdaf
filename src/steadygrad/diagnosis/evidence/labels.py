"""The targets as they enter a loss, one that raises on them included."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import nn

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .collector import Collector, Unavailable
from .loss_run import SECONDS, LossPair, later_pairs, loss_pair, tensors
from .loss_watch import LossWatch
from .sampled import Sampled


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Where outputs meet targets, up to what the loss refuses.

    Attributes:
        pairs: outputs and targets as they enter a loss.
        own_step: a step of the user's own may give the loss other targets than the data's, as an adversary's does.
    """

    pairs: tuple[LossPair, ...]
    own_step: bool = False

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "the targets as the loss takes them"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model once, and the loss on that batch and on the targets of others, whatever the loss raises."""
        setup, sampled = collector.setup, collector.get(Sampled)
        if setup.loss_fn is None:
            raise Unavailable("There is no loss function, so how it fits the model was not looked at.")
        batch = sampled.first
        modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
        with untouched(*modules), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outputs = outputs_of(setup.model, batch.inputs)
            except Exception as error:
                raise Unavailable(f"The loss could not be looked at: {type(error).__name__}: {error}") from error
            # What it did until it raises is seen; that it raises is told where the batch is measured.
            with LossWatch(tensors(outputs), tensors(batch.targets)) as watch, suppress(Exception):
                setup.loss_fn(outputs, batch.targets)
            budget = collector.part("what the loss does with further targets", SECONDS)
            later = later_pairs(setup.loss_fn, outputs, sampled, budget)
        return cls(
            pairs=tuple(loss_pair(i, pair, later) for i, pair in enumerate(watch.pairs)),
            own_step=setup.step is not None,
        )
