"""Whether a loss falls for ever as the outputs go on the way that a trial took them."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import nn

from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.untouched import untouched
from steadygrad.setup.parts import mapped, tensors_in

from .collector import Collector, Unavailable
from .gradient_tail import GradientTail
from .probe import Probe
from .rates import Rates
from .trained import SECONDS, Trained, run, said

# The outputs, twice as large each time; what a loss does at the end of that it goes on doing.
_DOUBLINGS = 8
_LAST = 3

# A loss that falls in proportion to the outputs falls by twice as much with each doubling, by their square four times;
# one that falls with their logarithm falls by as much, and one with a bound by less and less.
_LINEAR, _SQUARE = 1.9, 3.8

# Examples that are asked one by one.
_EXAMPLES = 32


@dataclass(frozen=True, kw_only=True)
class Unbounded:
    """The loss of a batch along the ray through what the model says of it at the end of a trial.

    Attributes:
        began: the loss at the start of the trial.
        losses: at those outputs, at twice their size, and so on; empty where they were not looked at.
        grown: the mean square of the outputs at the end over that at the start; NaN where that is not known.
        of_each: of examples on their own, how many there were of which the loss falls for ever.
        examples: how many those are, without such as the loss passes over.
    """

    began: float = math.nan
    losses: tuple[float, ...] = ()
    grown: float = math.nan
    of_each: int = 0
    examples: int = 0

    passes: ClassVar[float] = 0.0
    what: ClassVar[str] = "the loss of larger outputs"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Ask the loss about larger outputs, where it heeds the targets and the trial was no match of two networks."""
        for small in (GradientTail, Rates):  # a trial takes what time they leave
            with suppress(Unavailable):
                collector.get(small)
        try:
            trained, probe = collector.get(Trained), collector.get(Probe)
        except Unavailable:
            return cls()
        loss_fn, targets = collector.setup.loss_fn, probe.pairs[0][1]
        both = trained.said or (None if trained.rivals else _before_the_end(collector, trained, probe))
        if both is None or trained.rivals or loss_fn is None:
            return cls()
        before, after = (mapped(_wide, outputs) for outputs in both)

        def loss(outputs: Any, targets: Any) -> float:
            return trained.sign * float(loss_fn(outputs, targets))

        modules = [loss_fn] if isinstance(loss_fn, nn.Module) else []
        try:
            with untouched(*modules), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if loss(after, targets) == loss(after, mapped(_rolled, targets)):
                    return cls()
                losses = _along(loss, after, targets)
                each = _of_each(loss, after, targets) if falls_for_ever(losses) else []
                falls = [falls_for_ever(x) for x in each if len(set(x)) > 1]
        except Exception:  # whatever a loss raises at outputs that no model gave it
            return cls()
        return cls(
            began=trained.course.began.value,
            losses=losses,
            grown=_square(after) / _square(before) if _square(before) > 0 else math.nan,
            of_each=sum(falls),
            examples=len(falls),
        )

    @property
    def by_square(self) -> bool:
        """Whether it falls with the square of the outputs or faster: then so does their growth speed up."""
        return falls_for_ever(self.losses, _SQUARE)


def falls_for_ever(losses: Sequence[float], times: float = _LINEAR) -> bool:
    """Return whether each of the last doublings takes off so many times what the one before it did.

    >>> falls_for_ever([-1.0, -2.0, -4.0, -8.0]), falls_for_ever([8.0, 4.0, 2.0, 1.0])
    (True, False)
    """
    falls = [before - after for before, after in itertools.pairwise(losses)][-_LAST:]
    if len(falls) < _LAST or not all(0 < fall < math.inf for fall in falls):
        return False
    return all(after >= times * before for before, after in itertools.pairwise(falls))


def _before_the_end(collector: Collector, trained: Trained, probe: Probe) -> tuple[Any, Any] | None:
    """The outputs at the start and at the last weights with a finite loss, where the trial ended in one that is not."""
    setup, steps = collector.setup, trained.trial.steps - 2
    if not trained.trial.nonfinite or steps < 1:
        return None
    try:
        budget = collector.part(Unbounded.what, SECONDS, passes=steps)
    except Unavailable:
        return None
    with trial_of(setup):
        before = said(setup, probe)
        trial = run(setup, probe, steps=steps, seconds=budget.seconds)
        after = said(setup, probe)
    return None if trial.nonfinite or before is None or after is None else (before, after)


def _along(loss: Callable[[Any, Any], float], outputs: Any, targets: Any) -> tuple[float, ...]:
    factors = [2.0**doublings for doublings in range(_DOUBLINGS + 1)]
    return tuple(loss(mapped(partial(_times, factor=factor), outputs), targets) for factor in factors)


def _of_each(loss: Callable[[Any, Any], float], outputs: Any, targets: Any) -> list[tuple[float, ...]]:
    """The losses of single examples; none where the loss does not take one alone."""
    every = [*tensors_in(outputs).values(), *tensors_in(targets).values()]
    sizes = {len(x) if x.dim() else 0 for x in every}
    if len(sizes) != 1:
        return []
    try:
        return [
            _along(loss, *(mapped(partial(_example, index=i), part) for part in (outputs, targets)))
            for i in range(min(max(sizes), _EXAMPLES))
        ]
    except Exception:
        return []


def _times(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor if x.is_floating_point() else x


def _example(x: torch.Tensor, index: int) -> torch.Tensor:
    return x[index : index + 1]


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.double() if x.is_floating_point() else x


def _rolled(y: torch.Tensor) -> torch.Tensor:
    return y.roll(1, 0) if y.dim() else y


def _square(outputs: Any) -> float:
    squares = [float(x.square().mean()) for x in tensors_in(outputs).values() if x.is_floating_point() and x.numel()]
    return max(squares, default=math.nan)
