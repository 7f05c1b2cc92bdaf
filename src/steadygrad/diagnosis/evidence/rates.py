"""The learning rate against what one step does: sharpness, and a few steps on one batch, put back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch

from steadygrad.diagnosis.trainable_depth import LOST
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.foreach_norm import foreach_norm
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.sharpness import Sharpness, sharpness
from steadygrad.measurement.trial import Trial, train
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Setup, bound_step

from .collector import Collector, OutOfTime, Unavailable
from .probe import Probe
from .schedule import Schedule
from .trained import direction

# One step may lower the loss of a batch by a lucky overshoot; of three that all raise it none was lucky.
STEPS = 3

SECONDS = 1.0

# Each step with the loss of its batch, which is also taken before and after.
_PASSES = STEPS + 1.0

# The gradient with its graph, and one product with its own forward and backward through both.
_PASSES_OF_SHARPNESS = 4.0

# Unit roundoff of single precision: of a step shorter than this part of a weight nothing is left.
ROUNDING = 2.0**-24

# Three steps on one batch that leave its loss at twice its size are no transient: the squared distance to the minimum
# of a quadratic, which is its loss, grows so where ηλ is above 2 by an eighth.
_RAISED = 2.0

# A hundredth of the usual 1e-3: even if all steps agreed, it would take 1e5 of them to move the weights by their size.
HARDLY_MOVES = 1e-5

# Rates that fall from layer to layer, as in fine-tuning, span less: 0.8 a layer over 24 layers is a factor of 212
# (Clark et al. 2020, ELECTRA, table 7), 1/2.6 a group over four groups 18 (Howard and Ruder 2018, section 3.2).
_FAR_BELOW = 1e-3


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a step of the optimizer's size does at the weights as they are.

    Attributes:
        rate: the largest learning rate of the optimizer's groups, now or under a schedule that the step turns.
        momentum: of the first group; 0 where it has none.
        plain: the step is the gradient times the rate, with momentum or without: sharpness bounds it.
        sharpness: the largest eigenvalue of the Hessian on the first batch; None where it was not found.
        steps: three steps on the first batch, the loss of that same batch before each, and at the end in `after`.
        still: parameters that got a gradient and moved by less than rounding in those steps, or, in a group whose rate
            is a thousandth of another's or less, by less than 1e-5 of their size a step.
        still_by: the largest part of its size by which one of them moved in those steps.
        still_share: share of all numbers that the optimizer holds and that got a gradient.
        sign: -1 where the optimizer climbs the loss, else 1.
        warms_up: the user's own step raises the rate: how long steps are then tells nothing, and `rate` is the highest.
    """

    rate: float
    momentum: float
    plain: bool
    sharpness: Sharpness | None
    steps: Trial
    still: tuple[str, ...] = ()
    still_share: float = 0.0
    still_by: float = 0.0
    sign: int = 1
    warms_up: bool = False

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Probe the first batch."""
        probe, setup = collector.get(Probe), collector.setup
        assert setup.optimizer is not None
        groups = setup.optimizer.param_groups
        if not all(_is_rate(group.get("lr")) for group in groups):
            raise Unavailable(f"{type(setup.optimizer).__name__} has no learning rate, so none was looked at.")
        budget = collector.part("three steps on one batch", SECONDS, passes=_PASSES)
        pair = probe.pairs[:1]
        before = _values(setup)
        with trial_of(setup):
            steps = train(
                setup.model,
                pair,
                setup.loss_fn,  # type: ignore[arg-type]
                setup.optimizer,
                steps=STEPS,
                seconds=budget.seconds,
                probe=pair,
                step=bound_step(setup),
            )
            still, share, by = _unmoved(setup, before)
        if not steps.losses:
            raise Unavailable(f"No step could be tried: {steps.ended}.")
        highest = max((*Schedule.of(collector).rates, *steps.rates, *(float(group["lr"]) for group in groups)))
        warms_up = bool(steps.rates) and highest > steps.rates[0]
        plain = isinstance(setup.optimizer, torch.optim.SGD) and not any(group["nesterov"] for group in groups)
        return cls(
            rate=highest,
            momentum=float(groups[0].get("momentum", 0.0)),
            plain=plain,
            sharpness=_sharpness(collector, probe),
            steps=steps,
            still=still,
            still_share=share,
            still_by=by,
            sign=direction(setup),
            warms_up=warms_up,
        )

    @property
    def before(self) -> float:
        """The batch's loss at the weights as they are."""
        return self.steps.before[0] if self.steps.before else self.steps.losses[0]

    @property
    def raised_by(self) -> float:
        """The least factor by which the loss of the batch stands above its start after a step on it; -inf for a fall.

        A loss that is not finite counts as infinite; the loss at the start is taken by its size.
        """
        if not math.isfinite(self.before):
            return -math.inf  # what is not finite at the start is no step's doing
        rises = [self.sign * (x - self.before) for x in (*self.steps.losses[1:], *self.steps.after)]
        if self.steps.nonfinite:
            return math.inf
        if not rises or not min(rises) > 0 or not abs(self.before) > 0:
            return -math.inf
        return 1 + rises[-1] / abs(self.before)

    @property
    def raises_its_loss(self) -> bool:
        """Whether the steps leave the loss of their own batch at twice its size or more."""
        return self.raised_by >= _RAISED

    @property
    def against_limit(self) -> float | None:
        """Rate over the one beyond which a quadratic of this sharpness diverges, 2(1 + β)/λ; None where unknown."""
        if not self.plain or self.sharpness is None or not self.sharpness.largest > 0:
            return None
        return self.rate * self.sharpness.largest / (2 * (1 + self.momentum))


@dataclass(frozen=True, kw_only=True)
class ScheduledRates:
    """The rate and where its schedule takes it.

    Attributes:
        schedule: without rates where there is none.
        rates: None under a warm-up without an end, at whose beginning steps tell nothing.
    """

    schedule: Schedule
    rates: Rates | None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look at the schedule first."""
        schedule = Schedule.of(collector)
        return cls(schedule=schedule, rates=None if schedule.is_endless else collector.get(Rates))


def _values(setup: Setup) -> dict[str, torch.Tensor]:
    assert setup.optimizer is not None
    # What a rate of zero holds still is another rule's matter.
    held = {id(p) for group in setup.optimizer.param_groups if float(group["lr"]) for p in group["params"]}
    return {name: p.detach().clone() for name, p in setup.model.named_parameters() if id(p) in held}


def _unmoved(setup: Setup, before: dict[str, torch.Tensor]) -> tuple[tuple[str, ...], float, float]:
    """Parameters that the last gradient asked to move and no step moved, their share of such numbers, the most one did.

    A gradient that vanished on its way is no rate's doing: those count whose gradient is, against their size, within
    what training survives of the largest.
    """
    now = dict(setup.model.named_parameters())
    asked = {name: _against(p.grad, before[name]) for name, p in now.items() if name in before and p.grad is not None}
    sizes = {name: before[name].numel() for name, size in asked.items() if size > 0}
    least = math.exp(-LOST / 2) * max(asked.values(), default=0.0)
    moved = {name: _against(now[name].detach() - before[name], before[name]) for name in sizes}
    quiet = _far_below(setup)
    still = [n for n in sizes if moved[n] <= (STEPS * HARDLY_MOVES if id(now[n]) in quiet else ROUNDING)]
    if len(still) == len(sizes):
        return (), 0.0, 0.0  # a step of the user's own may step at every other call only
    still = [n for n in still if asked[n] >= least]
    share = sum(sizes[name] for name in still) / max(sum(sizes.values()), 1)
    return tuple(still), share, max((moved[n] for n in still), default=0.0)


def _far_below(setup: Setup) -> set[int]:
    """Parameters, by identity, whose group has a rate far below that of another."""
    assert setup.optimizer is not None
    rates = [(float(group["lr"]), group["params"]) for group in setup.optimizer.param_groups]
    highest = max(rate for rate, _ in rates)
    return {id(p) for rate, held in rates if rate <= _FAR_BELOW * highest for p in held}


def _against(step: torch.Tensor, weights: torch.Tensor) -> float:
    """A norm over that of the weights that it would move, or did; weights that are all zero round nothing away."""
    size, weight = (float(foreach_norm([x.detach()])) for x in (step, weights))
    return size / weight if weight > 0 else 0.0


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def _sharpness(collector: Collector, probe: Probe) -> Sharpness | None:
    setup = collector.setup
    assert setup.optimizer is not None
    inputs, targets = probe.pairs[0]
    held = {id(p) for p in setup.model.parameters()}
    stepped = [p for group in setup.optimizer.param_groups for p in group["params"]]
    parameters = [p for p in stepped if p.requires_grad and id(p) in held]
    loss_fn: Any = setup.loss_fn

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        found: torch.Tensor = loss_fn(outputs_of(setup.model, inputs), targets)
        return found

    try:
        budget = collector.part("the sharpness of the loss", SECONDS, passes=_PASSES_OF_SHARPNESS)
        with untouched(setup.model):
            setup.model.train()
            return sharpness(loss, parameters, seconds=budget.seconds) if parameters else None
    except OutOfTime:
        return None
    except Exception as error:
        collector.note(f"The sharpness of the loss was not found: {type(error).__name__}.")
        return None
