"""Scales that stand out, and whether training is better with them put right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from steadygrad.setup import Batch, mapped, tensors_in

from .collector import Collector, Unavailable
from .constant_guess import constant_guess
from .entrance import Entrance
from .loss_run import LossRun
from .loss_watch import REGRESSIONS
from .rates import Rates
from .rescaled import AsItIs, Change, Comparison, run_steps
from .sampled import Sampled

# Descent on a square loses a factor e of the excess in a time constant. Schoenholz et al. 2017 (section 5) saw
# networks train over some six such constants; a second moment e^6 times too large needs as many only to be undone.
OUT_OF_SCALE = math.exp(6.0)

# Fewer than one target in ten may be wild; more are part of the task.
_MOST = 0.9


@dataclass(frozen=True, kw_only=True)
class InputScale:
    """Whether features out of scale keep the first layer from learning.

    Attributes:
        largest: largest eigenvalue of the second moments that enter the first layer.
        bound: the largest that as many standardised features can have, which is their number.
        total: E|x|², the trace of the second moments; a bias has 1.
        comparison: steps with standardised inputs; None where the scale is ordinary or nothing could be tried.
        apart: ratio of the largest to the smallest root mean square of a feature; 1 where units are shared.
        axis: dimension of the inputs along which features lie.
        path: the layer.
        count: rows that were looked at.
        over_limit: plain descent's rate over the one beyond which a quadratic diverges, where its steps raise the loss
            of the batch that they are taken on; NaN where they do not, or where the scale is ordinary.
    """

    largest: float
    bound: float
    total: float
    comparison: Comparison | None
    apart: float
    path: str
    count: int
    axis: int = -1
    over_limit: float = math.nan

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Standardise where the eigenvalue is beyond e^6 times its bound, or all of them are below e^-6 of a bias's."""
        entrance = collector.get(Entrance)
        largest, bound = entrance.largest, float(max(entrance.features, 1))
        apart = _apart(entrance)
        found = cls(
            largest=largest,
            bound=bound,
            total=float(entrance.rms.square().sum()),
            comparison=None,
            apart=apart,
            path=entrance.path,
            count=len(entrance.rows),
            axis=-1 if entrance.axis is None else entrance.axis,
        )
        if not (found.is_large or found.is_small):
            return found
        comparison = _compared(collector, inputs=found.standardised(collector.get(Sampled)))
        return replace(found, comparison=comparison, over_limit=_over_limit(collector) if found.is_large else math.nan)

    @property
    def drives_steps_up(self) -> bool:
        """Whether the rate is beyond the limit, and would be below it if the inputs were in scale.

        The curvature along the first layer goes with their largest eigenvalue, and the limit with its inverse.
        """
        return 1 < self.over_limit < self.largest / self.bound

    @property
    def is_large(self) -> bool:
        """Whether the eigenvalue is beyond e^6 times its bound."""
        return self.largest > OUT_OF_SCALE * self.bound

    @property
    def is_small(self) -> bool:
        """Whether all of the features together are less than e^-6 of a bias."""
        return 0 < self.total < 1 / OUT_OF_SCALE

    def standardised(self, sampled: Sampled) -> Change:
        """Return what standardises the inputs by all batches that are looked at.

        Of several tensors those alone that are out of scale: numbers of rows and masks mean what they are.
        """
        if isinstance(sampled.first.inputs, Tensor):
            return _standardised([b.inputs for b in sampled.batches], self.apart, self.axis)
        places = zip(*(tensors_in(b.inputs).values() for b in sampled.batches), strict=True)
        changes = [_standardised(list(xs), self.apart, self.axis) if _is_off(xs[0]) else lambda x: x for xs in places]

        def change(inputs: Any) -> Any:
            next_change = iter(changes)
            return mapped(lambda x: next(next_change)(x), inputs)

        return change


def _over_limit(collector: Collector) -> float:
    try:
        rates = collector.get(Rates)
    except Unavailable:
        return math.nan
    share = rates.against_limit
    return math.nan if share is None or not rates.raises_its_loss else share


@dataclass(frozen=True, kw_only=True)
class ConstantInputs:
    """Whether features that never change drown the others.

    Attributes:
        columns: their numbers.
        square: sum of their squares, which multiplies the learning rate of every bias that they make.
        bound: as many standardised features as the layer has would sum to this.
        comparison: steps with those features at zero.
        path: the layer.
        count: rows that were looked at.
        alike: whether all examples are one and the same, and not blank.
        axis: dimension of the inputs along which features lie.
    """

    columns: tuple[int, ...]
    square: float
    bound: float
    comparison: Comparison | None
    path: str
    count: int
    alike: bool = False
    axis: int = -1

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Put the constants to zero where they outweigh all that the other features could bring."""
        entrance = collector.get(Entrance)
        columns, axis = (entrance.constants, entrance.axis) if entrance.axis is not None else ((), -1)
        square, bound = entrance.constant_square, float(entrance.rows.shape[1])
        comparison, alike = None, _all_alike(collector.get(Sampled))
        if columns and square > bound and not alike:
            comparison = _compared(collector, inputs=_without(columns, axis))
        return cls(
            columns=columns,
            square=square,
            bound=bound,
            comparison=comparison,
            path=entrance.path,
            count=len(entrance.rows),
            alike=alike,
            axis=axis,
        )


def _all_alike(sampled: Sampled) -> bool:
    """Whether each tensor of the inputs holds one example over and over; of blank ones another rule speaks."""
    first = [x[:1].to_dense() for x in tensors_in(sampled.first.inputs).values() if x.dim()]
    examples = sum(batch.size for batch in sampled.batches)
    return examples > 1 and any(bool(x.any()) for x in first) and all(_holds_only(b, first) for b in sampled.batches)


def _holds_only(batch: Batch, first: list[Tensor]) -> bool:
    parts = [x.to_dense() for x in tensors_in(batch.inputs).values() if x.dim()]
    return all(x.shape[1:] == y.shape[1:] and bool((x == y).all()) for x, y in zip(parts, first, strict=True))


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """Whether targets out of the outputs' scale keep a regression from learning.

    Attributes:
        typical: median distance of a target from the outputs' mean, of the column where it is largest.
        spread: median distance of a target from the median target, of the column where it is largest.
        reach: the distance from the median target that nine in ten targets keep to, of the column where it is largest:
            where most are one and the same number, as zero in counts, the others are what is to be learned.
        outputs: root mean square of the outputs at the start.
        comparison: steps with standardised targets.
        count: targets.
    """

    typical: float
    spread: float
    outputs: float
    comparison: Comparison | None
    count: int
    reach: float = 0.0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Standardise where targets are e^3 times larger or smaller than what a head of unit gain gives."""
        run = collector.get(LossRun)
        pair = next((p for p in run.named(*REGRESSIONS) if p.target is not None), None)
        if pair is None or pair.target is None:
            return cls(typical=math.nan, spread=math.nan, outputs=math.nan, comparison=None, count=0)
        y = torch.cat([_columns(t) for t in pair.targets if t.shape[1:] == pair.target.shape[1:]])
        x = pair.input.double()
        off = (y - y.median(0).values).abs()
        found = cls(
            typical=float((y - x.mean()).abs().median(0).values.max()),
            spread=float(off.median(0).values.max()),
            reach=float(off.kthvalue(math.ceil(_MOST * len(off)), 0).values.max()),
            outputs=float(x.square().mean().sqrt()),
            comparison=None,
            count=y.numel(),
        )
        if not found.is_out:
            return found
        return replace(found, comparison=_compared(collector, targets=_standardised_targets(collector.get(Sampled))))

    @property
    def is_out(self) -> bool:
        """Whether targets are far too large, or vary far too little, for the outputs as they start."""
        ratio = math.sqrt(OUT_OF_SCALE)
        too_small = self.spread > 0 and self.reach < self.outputs / ratio and self.outputs < ratio and self.typical < 1
        return self.typical > ratio * max(self.outputs, 1.0) or too_small


@dataclass(frozen=True, kw_only=True)
class DividedLoss:
    """Whether a loss that grows with the batch makes steps too long.

    Attributes:
        growth: see `LossRun`.
        batch_size: examples in a batch.
        comparison: steps with the loss over the batch size, and over the entries of an example too.
        entries: targets of an example that are summed as well, where without them the mean would not train either.
    """

    growth: float
    batch_size: int
    comparison: Comparison | None
    entries: int = 1

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Divide the loss where an example's gradient does not shrink when the batch grows."""
        run = collector.get(LossRun)
        found = cls(growth=run.growth, batch_size=run.batch_size, comparison=None)
        if not found.is_sum:
            return found
        found = replace(found, comparison=_compared(collector, divided=found.factor))
        each = max((p.target.numel() // run.batch_size for p in run.pairs if p.target is not None), default=1)
        if each == 1 or found.comparison is None or found.comparison.hurts:
            return found
        # A loss that is named a sum is one over all that it takes, and its mean is over as much.
        of_all = replace(found, entries=each)
        of_all = replace(of_all, comparison=_compared(collector, divided=of_all.factor))
        return of_all if of_all.comparison is not None and of_all.comparison.hurts else found

    @property
    def is_sum(self) -> bool:
        """Whether an example's gradient stays, to a hundredth, or grows in a batch of twice the size.

        >>> [DividedLoss(growth=g, batch_size=8, comparison=None).is_sum for g in (1.0, 0.5, 2.0)]
        [True, False, True]
        """
        return self.batch_size > 1 and self.power > 0 and abs(self.growth - 2 ** (self.power - 1)) < 0.01

    @property
    def power(self) -> int:
        """Power of the batch size that the loss goes with: 0 for a mean, 1 for a sum, 2 for a sum over pairs."""
        return round(math.log2(self.growth)) + 1 if 0 < self.growth < math.inf else 0

    @property
    def factor(self) -> int:
        """By how much the loss is larger than a mean.

        >>> DividedLoss(growth=1.0, batch_size=8, comparison=None).factor
        8
        """
        return int(self.batch_size**self.power * self.entries)


def _compared(
    collector: Collector, *, inputs: Change | None = None, targets: Change | None = None, divided: int = 1
) -> Comparison | None:
    """Run the setup as it is and mended; None, with a note, where it cannot be run so."""
    setup, sampled = collector.setup, collector.get(Sampled)
    if setup.optimizer is None or setup.loss_fn is None:
        return None
    try:
        run = collector.get(LossRun)
        baseline = constant_guess(setup, run, sampled.batches)
        other = constant_guess(setup, run, sampled.batches, targets) if targets else baseline
        if not (0 < baseline < math.inf and 0 < other < math.inf):
            return None
        as_it_is = collector.get(AsItIs).over(baseline)
        steps = run_steps(collector, inputs=inputs, targets=targets, scale=1 / divided)
        mended = AsItIs(steps=steps).over(other / divided)
    except Unavailable:
        return None
    except Exception as error:
        collector.note(f"No steps on a copy could be tried: {type(error).__name__}: {error}")
        return None
    return Comparison(as_it_is=as_it_is, mended=mended, baseline=baseline)


def _columns(y: Tensor) -> Tensor:
    """Targets [examples, columns]; what is more than a vector an example shares one scale."""
    return y.double() if y.dim() == 2 else y.double().reshape(-1, 1)


def _apart(entrance: Entrance) -> float:
    sizes = entrance.rms[entrance.rms > 0]
    return float(sizes.max() / sizes.min()) if entrance.axis is not None and len(sizes) else 1.0


def _is_off(x: Tensor) -> bool:
    size = float(x.double().square().mean()) if x.is_floating_point() else 1.0
    return size > OUT_OF_SCALE or 0 < size * x[0].numel() < 1 / OUT_OF_SCALE


def _standardised(tensors: list[Tensor], apart: float, axis: int) -> Change:
    # Features that share a unit, as pixels do, keep their sizes against each other.
    each = apart > math.sqrt(OUT_OF_SCALE)

    def rows(x: Tensor) -> Tensor:
        if x.dim() < 2:
            return x[:, None]
        if not each:
            return x.flatten(1)
        x = x.movedim(axis, -1)  # a feature is the same at every step and place
        return x.reshape(-1, x.shape[-1])

    x = torch.cat([rows(x.to_dense()) for x in tensors]).double()
    axes = (0,) if each else (0, 1)
    mean, deviation = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
    scale = torch.where(deviation > 0, deviation, 1.0)

    def change(inputs: Tensor) -> Tensor:
        kind = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
        changed = ((rows(inputs).double() - mean) / scale).to(kind)
        if not each or inputs.dim() < 2:
            return changed.reshape(inputs.shape)
        return changed.reshape(inputs.movedim(axis, -1).shape).movedim(-1, axis)

    return change


def _standardised_targets(sampled: Sampled) -> Change:
    """What standardises targets; of several tensors those alone that are out of scale."""
    if isinstance(sampled.first.targets, Tensor):
        return _standardised_columns(sampled.targets)
    places = zip(*(tensors_in(targets).values() for targets in sampled.targets), strict=True)
    changes = [_standardised_columns(ys) if _is_off(ys[0]) else lambda y: y for ys in places]

    def change(targets: Any) -> Any:
        next_change = iter(changes)
        return mapped(lambda y: next(next_change)(y), targets)

    return change


def _standardised_columns(ys: Sequence[Tensor]) -> Change:
    y = torch.cat([t for t in ys if t.shape[1:] == ys[0].shape[1:]]).double()
    mean, deviation = y.mean(0), y.std(0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return lambda targets: ((targets.double() - mean) / scale).to(
        targets.dtype if targets.is_floating_point() else torch.get_default_dtype()
    )


def _without(columns: tuple[int, ...], axis: int) -> Change:
    def change(inputs: Tensor) -> Tensor:
        kept = inputs.clone()
        kept.movedim(axis, -1)[..., list(columns)] = 0
        return kept

    return change
