"""The batches at which a setup is probed: the first ones, kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import torch
from torch import nn

from steadygrad.diagnosis.data_position import data_position_kept
from steadygrad.measurement.loss_draws import draws_by_outputs
from steadygrad.measurement.loss_slope import loss_slope
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Batch, joined

from .collector import Collector, Unavailable
from .loss_run import is_severed
from .measured import Measured
from .own_step import OwnStep
from .pace import PASS
from .scanned import Scanned
from .schedule import Schedule

# Tells the level of the loss within a fifth of its spread between batches: five standard errors of 64 medians.
MOST_BATCHES = 64

# Drawing them may take so long.
_SECONDS = 1.0

# What a trial may spend on the losses before, after, and of a constant; the sign test of ten pairs is the first that
# can be sure, beyond three standard errors.
_PROBING = 2.0
_LOOKS = 3
_FEWEST = 10

# A loss that falls by less than this part of what its gradient says is not the function that training descends.
_HALF = 0.5

UNTOLD = "its size does not tell what is learned, so no step of training was looked at."

# Half of a trial: the other half tells how it goes at the whole rate. Rates that a schedule computes are rounded.
_WARM, _ROUNDED = 100, 1e-6

# What the probe may hold at most of the data, so that it fits beside the model.
_MOST_NUMBERS = 2**24


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The first finite batches of the data, for a setup that has all it takes to train.

    Attributes:
        batches: at least one.
        compared: how many of them losses are compared on before and after a trial: half of the most where the model
            is fast.
    """

    batches: tuple[Batch, ...]
    compared: int = MOST_BATCHES // 2

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Keep batches, up to a number and a size."""
        if limit := collector.limit(Measured):
            raise limit  # what cannot run once cannot be trained either
        if is_severed(collector):
            raise Unavailable("The loss has no gradient, so no pass was measured and no step tried.")
        collector.get(OwnStep)  # without which a step that raises would be tried again and again
        setup, scanned = collector.setup, collector.get(Scanned)
        missing = [name for name in ("loss_fn", "optimizer") if getattr(setup, name) is None]
        if missing:
            names = " and ".join(f"`{name}`" for name in missing)
            raise Unavailable(f"There is no {names}, so no step of training was looked at.")
        if late := _before_its_rate(collector):
            raise Unavailable(late)
        if scanned.clean is None:
            raise Unavailable("No batch is free of NaN and infinity, so no step of training was looked at.")
        found, numbers, budget = [], 0, collector.part("steps of training", _SECONDS)
        assert setup.data is not None
        with data_position_kept(setup.data):
            for batch in islice(setup.data, MOST_BATCHES):
                inputs, targets = batch
                kept = Batch(inputs=inputs, targets=targets)
                if all(map(_finite, kept.tensors.values())):
                    found.append(kept)
                    numbers += sum(x.numel() for x in kept.tensors.values())
                if numbers > _MOST_NUMBERS or (found and budget.is_over):
                    break
        batches = tuple(found) or (scanned.clean,)
        if weighed := _falls_otherwise(collector, batches[0]):
            raise Unavailable(weighed)
        return cls(batches=batches, compared=_compared(collector))

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """As (inputs, targets): what losses are compared on before and after a trial."""
        return [(batch.inputs, batch.targets) for batch in self.batches[: self.compared]]

    @property
    def cost(self) -> float:
        """Passes that comparing them takes, in forward and backward: before, after, and for the constant."""
        return len(self.pairs) * _LOOKS / PASS

    @property
    def first_few(self) -> tuple[Batch, ...]:
        """The first eight, or a quarter of those compared."""
        return self.batches[: max(self.compared // 4, 1)]

    @property
    def joined(self) -> Batch:
        """The first eight as one, or a quarter of those compared; where their shapes do not allow it, the first."""
        batches = self.first_few
        try:
            targets = [b.targets for b in batches if b.targets is not None]
            return Batch(inputs=joined([b.inputs for b in batches]), targets=joined(targets))
        except (RuntimeError, ValueError):  # sequences of different lengths do not join
            return batches[0]


def _compared(collector: Collector) -> int:
    forward = collector.pace.whole / PASS
    most = MOST_BATCHES // 2
    return most if forward == 0 else min(max(int(_PROBING / (_LOOKS * forward)), _FEWEST), most)


def _falls_otherwise(collector: Collector, batch: Batch) -> str:
    """Why the loss says nothing of what is learned: it is not what its gradient descends."""
    setup = collector.setup
    loss_fn = setup.loss_fn
    assert loss_fn is not None
    modules = [setup.model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    try:
        collector.part("how the loss falls against its gradient", _SECONDS, passes=1.0)
        with untouched(*modules), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.no_grad():
                outputs = outputs_of(setup.model, batch.inputs)
            if draws_by_outputs(loss_fn, outputs, batch.targets):
                return f"The loss draws at random by what the model says: {UNTOLD}"
            slope = loss_slope(loss_fn, outputs, batch.targets)
    except Exception:  # whatever the user's loss raises; or there is no time. Rules say what is wrong.
        return ""
    if not slope < _HALF:
        return ""
    return (
        f"Against its gradient the loss falls {slope:.2g} times as fast as the gradient says, as where outputs cut "
        f"from the graph weigh it: {UNTOLD}"
    )


def _before_its_rate(collector: Collector) -> str:
    """Why steps at the rate of the moment say nothing: a schedule has yet to raise it.

    One that the setup's own step turns is part of a trial, and is judged by it where it has raised the rate early in
    it, or never does.
    """
    assert collector.setup.optimizer is not None
    schedule = Schedule.of(collector)
    if schedule.rates and schedule.steps_of_warm_up <= _WARM and max(schedule.rates) > 0:
        return ""
    for group in collector.setup.optimizer.param_groups:
        rate, whole = group.get("lr"), group.get("initial_lr")
        if rate is not None and whole is not None and float(rate) < float(whole) * (1 - _ROUNDED):
            return (
                f"The learning rate stands at {float(rate):g} of its schedule's {float(whole):g}, so no step of "
                "training was looked at."
            )
    return ""


def _finite(x: torch.Tensor) -> bool:
    return not x.is_floating_point() or bool(torch.isfinite(x.sum(dtype=torch.float64)))
