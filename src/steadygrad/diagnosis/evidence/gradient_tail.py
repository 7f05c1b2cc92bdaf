"""The gradient norms of single batches: their tail, and what the step of the wildest one does to the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from steadygrad.diagnosis.runs.level import level
from steadygrad.diagnosis.trial_block import trial_of
from steadygrad.measurement.trial import probed, train
from steadygrad.setup import Batch, Setup, bound_step

from .batch_gradients import LEAST_BATCHES, BatchGradients
from .collector import Collector, Unavailable
from .probe import Probe
from .trained import direction

# The losses of eight others three times, and two steps.
_PASSES = 10.0


@dataclass(frozen=True, kw_only=True)
class GradientTail:
    """Norms at the weights as they are, and one step of the batch with the largest.

    Attributes:
        norms: one a batch.
        median: of the norms.
        largest: of the norms.
        z: distance of ln(largest) from ln(median), in robust standard deviations of the logarithms.
        before: median loss of the other batches at the weights as they are.
        after: the same after one step on the batch with the largest norm; infinite where it is not finite.
        after_usual: the same after one step on the batch with the median norm.
    """

    norms: tuple[float, ...]
    median: float
    largest: float
    z: float
    before: float
    after: float
    after_usual: float

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Measure a norm a batch, then try two steps."""
        probe, setup, found = collector.get(Probe), collector.setup, collector.get(BatchGradients).norms
        batches = sorted(((n, i) for i, n in enumerate(found) if 0 < n < math.inf))
        if len(batches) < LEAST_BATCHES:
            raise Unavailable(
                f"The tail of the gradient norms was not looked at: it takes {LEAST_BATCHES} batches with a finite "
                f"gradient, and {len(batches)} came."
            )
        collector.part("the tail of the gradient norms", 0.0, passes=_PASSES)
        logs = level([math.log(n) for n, _ in batches])
        (middle, usual), (largest, wildest) = batches[len(batches) // 2], batches[-1]
        others = [probe.batches[i] for _, i in batches[len(batches) // 4 : 3 * len(batches) // 4]][:8]
        return cls(
            norms=found,
            median=middle,
            largest=largest,
            z=(math.log(largest) - logs.value) / logs.spread if logs.spread > 0 else math.inf,
            before=_after(setup, None, others),
            after=_after(setup, probe.batches[wildest], others),
            after_usual=_after(setup, probe.batches[usual], others),
        )


def _after(setup: Setup, batch: Batch | None, others: list[Batch]) -> float:
    """Median loss of the others after one step on a batch, or at the weights as they are."""
    loss_fn: Any = setup.loss_fn
    pairs = [(b.inputs, b.targets) for b in others]
    with trial_of(setup):
        if batch is not None and setup.optimizer is not None:
            data = [(batch.inputs, batch.targets)]
            if train(setup.model, data, loss_fn, setup.optimizer, steps=1, step=bound_step(setup)).nonfinite:
                return math.inf
        losses = probed(setup.model.train(), pairs, loss_fn)
        return level([direction(setup) * x for x in losses]).value
