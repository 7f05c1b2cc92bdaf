"""A first loss far above that of a model that knows nothing, and whether outputs of a smaller scale would have it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .collector import Collector, Unavailable
from .loss_run import LossPair, LossRun
from .loss_watch import REGRESSIONS
from .mended_scales import OUT_OF_SCALE

# Twice the logit scale at which a softmax freezes gives this many times ln K.
_FROZEN = 4.0
# Forward and backward share what a signal may lose or gain.
_LOUD = math.sqrt(OUT_OF_SCALE)
# The thresholds are far from any calm start: a model just above them by chance is loud as well.
_STANDARD_ERRORS = 2
_MOST = 0.5
_NORMALISED = ("LogSoftmax", "LogSigmoid", "Log")
# Losses that take what a scale of the head's weights multiplies; of a log-softmax all but a shift of it.
_OF_LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits", *REGRESSIONS)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoudStart:
    """How far from calm a start is.

    Attributes:
        of_classes: whether `value` is a loss; else it is the outputs' mean square.
        value: what was measured.
        calm: the loss of a uniform guess, or the targets' mean square.
        error: standard error of `value`.
        count: examples.
        is_grave: whether it is beyond twice as far, by the logarithm of a square or by the loss.
    """

    of_classes: bool
    value: float
    calm: float
    error: float
    count: int
    is_grave: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class LoudStarts:
    """The first outputs that make the first loss loud.

    Attributes:
        pair: None where none do, or there is no loss.
    """

    pair: LossPair | None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look at what enters the loss."""
        try:
            run = collector.get(LossRun)
        except Unavailable:
            return cls(pair=None)
        return cls(pair=next((pair for pair in run.pairs if loud_start(pair) is not None), None))

    def is_made_by(self, logarithm: float) -> bool:
        """Return whether the start is loud, and calm with second moments smaller by a factor of this logarithm.

        >>> from steadygrad.diagnosis.evidence.head_operator import HeadOperator
        >>> logits = torch.eye(4)[torch.tensor([1, 2, 3, 0])] * 30
        >>> pair = LossPair(name="cross_entropy", input=logits, target=torch.arange(4), head=HeadOperator(),
        ...     targets=(torch.arange(4),))
        >>> [LoudStarts(pair=pair).is_made_by(x) for x in (0.0, 6.0)]
        [False, True]
        """
        if self.pair is None or not (self.pair.name in _OF_LOGITS or self.pair.head.name in _NORMALISED[:1]):
            return False
        x = self.pair.input * math.exp(-logarithm / 2)
        scaled = F.log_softmax(x, 1) if self.pair.name == "nll_loss" else x
        return loud_start(replace(self.pair, input=scaled)) is None


def loud_start(pair: LossPair) -> LoudStart | None:
    """Return how loud the outputs are; None where they are calm, or lie at an end of their range.

    >>> from steadygrad.diagnosis.evidence.head_operator import HeadOperator
    >>> pair = LossPair(name="mse_loss", input=torch.full((4, 1), 100.0), target=torch.ones(4, 1), head=HeadOperator())
    >>> loud_start(pair).value
    10000.0
    """
    return None if _is_cut_off(pair) else _of_classes(pair) or _of_numbers(pair)


def _is_cut_off(pair: LossPair) -> bool:
    """Whether most outputs lie at an end of their range: that they start there is not the fault, but that they stay."""
    x, low, high = pair.input, pair.head.low, pair.head.high
    if not (math.isfinite(low) and math.isfinite(high) and x.numel()):
        return False
    # Compared in the outputs' own format, in which the ends of the range are rounded.
    ends = torch.tensor([low, high], dtype=x.dtype)
    return float(torch.isin(x, ends).double().mean()) > _MOST


def _of_classes(pair: LossPair) -> LoudStart | None:
    if pair.target is None or (uninformed := _uninformed(pair)) is None:
        return None
    losses = pair.per_example()
    if len(losses) < 2:
        return None
    loss, error = float(losses.mean()), _error(losses)
    if not (loss > _FROZEN * uninformed and _at_random(pair) > _FROZEN * uninformed):
        return None
    grave = loss > 2 * _FROZEN * uninformed
    return LoudStart(of_classes=True, value=loss, calm=uninformed, error=error, count=len(losses), is_grave=grave)


def _uninformed(pair: LossPair) -> float | None:
    """Ln K; None for a loss that has no uniform guess, or whose input or labels are not what it is defined for."""
    assert pair.target is not None
    labels = pair.target
    match pair.name:
        case "cross_entropy" | "nll_loss" if pair.input.dim() > 1 and pair.classes > 1:
            fits = pair.name == "cross_entropy" or pair.head.name in _NORMALISED
            return math.log(pair.classes) if fits else None
        case "binary_cross_entropy" | "binary_cross_entropy_with_logits":
            return math.log(2) if float(labels.min()) >= 0 and float(labels.max()) <= 1 else None
        case _:
            return None


def _at_random(pair: LossPair) -> float:
    """Mean loss less two standard errors where labels fall on the outputs at random, in the shares that they have."""
    x, y = pair.input.double(), torch.cat([t.flatten() for t in pair.targets])
    if pair.name.startswith("binary"):
        share = y.double().mean()
        z = x if pair.name.endswith("logits") else torch.logit(x.clamp(1e-30, 1 - 1e-16))
        losses = share * F.softplus(-z) + (1 - share) * F.softplus(z)
    elif y.is_floating_point():
        return math.inf
    else:
        known = y[(y >= 0) & (y < pair.classes) & (y != pair.options.get("ignore_index", -100))]
        shares = torch.bincount(known, minlength=pair.classes).double() / max(len(known), 1)
        losses = torch.logsumexp(x, 1) - torch.tensordot(x, shares, ([1], [0]))
    losses = losses.reshape(len(x), -1).mean(1)
    return float(losses.mean() - _STANDARD_ERRORS * losses.std() / math.sqrt(len(losses)))


def _of_numbers(pair: LossPair) -> LoudStart | None:
    if pair.name not in REGRESSIONS or pair.target is None or not pair.target.numel():
        return None
    squares = pair.input.double().reshape(len(pair.input), -1).square().mean(1) if pair.input.dim() else None
    if squares is None or len(squares) < 2:
        return None
    targets = float(pair.target.double().square().mean())
    loud, error = float(squares.mean()), _error(squares)
    # Outputs of unit size are no fault of the head's: targets that are far smaller are DAT002.
    if not (targets > 0 and loud - _STANDARD_ERRORS * error > _LOUD * max(targets, 1.0)):
        return None
    grave = loud > OUT_OF_SCALE * max(targets, 1.0)
    return LoudStart(of_classes=False, value=loud, calm=targets, error=error, count=len(squares), is_grave=grave)


def _error(sample: Tensor) -> float:
    return float(sample.std()) / math.sqrt(len(sample))
