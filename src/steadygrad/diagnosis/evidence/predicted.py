"""The profile that theory predicts for the same model and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from steadygrad.errors import in_short
from steadygrad.measurement.scalar_loss import arguments_of
from steadygrad.prediction import predict
from steadygrad.profile import Profile

from .collector import Collector, Unavailable
from .scanned import Scanned

# A prediction comes last and gets what is left of the check. With less than this hardly an operator would be followed:
# what torch loads at its first fake tensor takes about a second.
LEAST = 2.0


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What theory expects of the weights as they are.

    Attributes:
        profile: a row a call, with the band of finite width.
    """

    profile: Profile

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Predict on the first batch that is finite."""
        batch, setup = collector.get(Scanned).clean, collector.setup
        if batch is None:
            raise Unavailable("No batch is free of NaN and infinity, so nothing was predicted.")
        seconds = collector.budget.left
        if seconds < LEAST:
            collector.leave_out("the prediction")
        try:
            inputs = _as_predicted(setup.model, batch.inputs)
            profile = predict(setup.model, inputs, batch.targets, loss_fn=setup.loss_fn, seconds=seconds)
        except Exception as error:
            # Code that runs on numbers may still need them where the prediction has none: measurement goes on alone.
            raise Unavailable(f"No prediction could be made: {in_short(error)}.") from error
        for words in profile.unknown:
            collector.note(f"Prediction: {words}.")
        return cls(profile=profile)


def _as_predicted(model: nn.Module, inputs: Any) -> Any:
    """Inputs in the form in which a prediction gives them to the model as its step does."""
    args, _ = arguments_of(model, inputs)
    return args if len(args) == 1 and args[0] is inputs and not isinstance(inputs, torch.Tensor) else inputs
