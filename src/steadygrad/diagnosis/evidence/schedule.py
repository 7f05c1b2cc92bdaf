"""Where the schedulers that the user's own step turns take the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.schedules import rates_ahead

from .collector import Collector, Unavailable
from .own_step import OwnStep

# Far beyond the longest warm-ups in use, which take some 30,000 steps (Liu et al. 2019, RoBERTa, table 9).
_TURNS = 100_000
# So many tell how a warm-up goes on.
_ENOUGH = _TURNS // 10

_SECONDS = 0.5

# A schedule that stands at its whole rate is followed through a trial.
STEPS = 200

# A warm-up is over where the rate comes within this part of its highest.
_NEARLY = 0.99


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The course of the learning rate, from how it stands now.

    Attributes:
        rates: the largest of the groups' before each turn of the schedulers; empty where the step turns none.
        per_step: turns a step of the optimizer.
        whole: the rate that the schedule multiplies; 0 where that is not known.
    """

    rates: tuple[float, ...] = ()
    per_step: float = 1.0
    whole: float = 0.0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Turn the schedulers ahead, without the step, and put them back."""
        setup, own = collector.setup, collector.get(OwnStep)
        if setup.optimizer is None or not own.turned:
            return cls()
        budget = collector.part("the course of the learning rate", _SECONDS)
        with trial_of(setup):
            ahead = rates_ahead(own.turned, setup.optimizer, turns=_TURNS, seconds=budget.seconds)
            whole = _whole(setup.optimizer)
            rates = _until_whole(ahead, whole, most=own.turns * STEPS)
            return cls(rates=rates, per_step=own.turns, whole=whole)

    @classmethod
    def of(cls, collector: Collector) -> Self:
        """Return what is known of it: without rates where it could not be looked at."""
        try:
            return collector.get(cls)
        except Unavailable:
            return cls()

    @property
    def rises(self) -> bool:
        """Whether the rate is ever larger than it is now.

        >>> Schedule(rates=(0.1, 0.05)).rises, Schedule(rates=(0.1, 0.2)).rises
        (False, True)
        """
        return bool(self.rates) and max(self.rates) > self.rates[0]

    @property
    def steps_at_zero(self) -> float:
        """Steps of the optimizer from the first on at a rate of exactly zero; fewer than one turn gives none.

        >>> Schedule(rates=(0.0, 0.0, 0.1)).steps_at_zero, Schedule(rates=(0.1, 0.0)).steps_at_zero
        (2.0, 0.0)
        """
        turns = next((i for i, rate in enumerate(self.rates) if rate != 0), len(self.rates))
        return turns / self.per_step

    @property
    def steps_of_warm_up(self) -> float:
        """Steps of the optimizer until the rate has come to its highest; 0 where it never rises.

        >>> Schedule(rates=(0.1, 0.5, 1.0, 0.5)).steps_of_warm_up
        2.0
        """
        if not self.rises:
            return 0.0
        highest = max(self.rates)
        return next(i for i, rate in enumerate(self.rates) if rate >= _NEARLY * highest) / self.per_step

    @property
    def steps_until_whole(self) -> float:
        """Steps of the optimizer until the rate would come to the whole one, rising as in the latter half of the turns.

        It is 0 where the rate came there, where it does not rise, and where too few turns were made to tell.

        >>> rising = Schedule(rates=tuple(i / 1e6 for i in range(20_001)), whole=1.0)
        >>> round(rising.steps_until_whole), Schedule(rates=rising.rates, whole=0.01).steps_until_whole
        (1000000, 0.0)
        """
        turns = len(self.rates) - 1
        if turns < _ENOUGH or max(self.rates) >= _NEARLY * self.whole:
            return 0.0
        middle, last = self.rates[turns // 2], self.rates[-1]
        if not last > middle:
            return 0.0
        return (turns + (self.whole - last) * (turns - turns // 2) / (last - middle)) / self.per_step

    @property
    def is_endless(self) -> bool:
        """Whether the rate rises, and takes far longer than any warm-up in use."""
        return self.steps_until_whole > _TURNS

    @property
    def falls_away(self) -> bool:
        """Whether the rate falls to less than a tenth in the steps of a trial.

        >>> Schedule(rates=(0.1, 0.01, 0.001)).falls_away, Schedule(rates=(0.1, 0.05)).falls_away
        (True, False)
        """
        return bool(self.rates) and self.rates[-1] < max(self.rates) / 10


def _whole(optimizer: torch.optim.Optimizer) -> float:
    return max((float(group.get("initial_lr") or 0.0) for group in optimizer.param_groups), default=0.0)


def _until_whole(ahead: Iterator[float], whole: float, *, most: float) -> tuple[float, ...]:
    """The rates until one comes to what the schedule multiplies; of one that begins there, so many as are asked for."""
    found = [next(ahead)]
    begins_there = found[0] >= _NEARLY * whole
    for rate in ahead:
        found.append(rate)
        if (begins_there and len(found) > most) or (not begins_there and rate >= whole):
            break
    return tuple(found)
