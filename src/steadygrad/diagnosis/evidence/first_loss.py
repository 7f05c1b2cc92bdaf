"""The first loss against that of a model that knows nothing, and whether steps of training take it there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from .collector import Collector, Unavailable
from .constant_guess import constant_guess
from .loss_run import LossPair, LossRun
from .loss_watch import REGRESSIONS
from .mended_scales import OUT_OF_SCALE
from .rescaled import AsItIs, Steps
from .sampled import Sampled

# Twice the logit scale at which a softmax freezes gives this many times ln K.
_FROZEN = 4.0
# Forward and backward share what a signal may lose or gain.
_LOUD = math.sqrt(OUT_OF_SCALE)
# The thresholds are far from any calm start: a model just above them by chance is loud as well.
_STANDARD_ERRORS = 2
_MOST = 0.5
_NORMALISED = ("LogSoftmax", "LogSigmoid", "Log")


@dataclass(frozen=True, kw_only=True)
class LoudStart:
    """A first loss, or first outputs, far above those of a model that knows nothing.

    Attributes:
        of_classes: whether losses are compared, or the mean squares of outputs and targets.
        measured: what there is.
        expected: the uniform guess's loss, or the targets' mean square.
        standard_error: of `measured`.
        count: examples.
        is_grave: whether it is beyond the square of what is allowed, or twice it for a loss.
    """

    of_classes: bool
    measured: float
    expected: float
    standard_error: float
    count: int
    is_grave: bool


@dataclass(frozen=True, kw_only=True)
class FirstLoss:
    """The first loss that is too large.

    Attributes:
        loud: None where the start is calm.
        steps: some steps of training on a copy, in units of a constant guess's loss; None where none could be tried.
    """

    loud: LoudStart | None
    steps: Steps | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look at every loss, and take steps where one is too large."""
        pairs = [pair for pair in collector.get(LossRun).pairs if not _is_cut_off(pair)]
        loud = next((found for pair in pairs if (found := _of_classes(pair) or _of_numbers(pair))), None)
        return cls(loud=loud, steps=None if loud is None else _tried(collector))

    @property
    def is_made_up(self) -> bool:
        """Whether those steps end no worse than a constant guess, as far as their spread can tell.

        >>> start = LoudStart(of_classes=True, measured=20.0, expected=2.0, standard_error=1.0, count=9, is_grave=True)
        >>> calm, wild = (Steps(losses=(9.0, x, x), finished=True) for x in (0.5, 5.0))
        >>> [FirstLoss(loud=start, steps=steps).is_made_up for steps in (calm, wild, None)]
        [True, False, False]
        """
        if self.steps is None:
            return False
        loss, error = self.steps.tail
        return loss - _STANDARD_ERRORS * error <= 1.0


def _tried(collector: Collector) -> Steps | None:
    setup = collector.setup
    if setup.optimizer is None or setup.loss_fn is None:
        return None
    try:
        baseline = constant_guess(setup, collector.get(LossRun), collector.get(Sampled).batches)
        return collector.get(AsItIs).over(baseline) if 0 < baseline < math.inf else None
    except Unavailable:
        return None
    except Exception as error:
        collector.note(f"No steps on a copy could be tried: {type(error).__name__}: {error}")
        return None


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
    loss = float(losses.mean())
    if not (loss > _FROZEN * uninformed and _at_random(pair) > _FROZEN * uninformed):
        return None
    return LoudStart(
        of_classes=True,
        measured=loss,
        expected=uninformed,
        standard_error=float(losses.std()) / math.sqrt(len(losses)),
        count=len(losses),
        is_grave=loss > 2 * _FROZEN * uninformed,
    )


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
    squares = _mean_squares(pair.input)
    if squares is None or len(squares) < 2:
        return None
    targets = float(pair.target.double().square().mean())
    loud, error = float(squares.mean()), float(squares.std()) / math.sqrt(len(squares))
    # Outputs of unit size are no fault of the head's: targets that are far smaller are DAT002.
    if not (targets > 0 and loud - _STANDARD_ERRORS * error > _LOUD * max(targets, 1.0)):
        return None
    return LoudStart(
        of_classes=False,
        measured=loud,
        expected=targets,
        standard_error=error,
        count=len(squares),
        is_grave=loud > OUT_OF_SCALE * max(targets, 1.0),
    )


def _mean_squares(x: Tensor) -> Tensor | None:
    """Mean square of each example's outputs."""
    return x.double().reshape(len(x), -1).square().mean(1) if x.dim() else None
