"""What was decided about a step, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor


class Verdict(IntEnum):
    """What a step is: `ACCEPTED`, or refused because something is `NONFINITE` or a `SPIKE`."""

    ACCEPTED = 0
    NONFINITE = 1
    SPIKE = 2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One step.

    Attributes:
        step: its number; the first is 1. Refused steps count.
        verdict: what was decided.
        norm: global norm of the gradient, unscaled, before clipping.
        factor: what the gradient was multiplied by; 1 where it was not, NaN where the policy has no single factor.
        loss: sum of the losses of this step's backward calls, the mean over ranks; NaN where none was seen.
        culprit: position of the parameter that blew up, or of the largest norm; -1 where not asked for.
        culprit_norm: the norm of its gradient.
        nonfinite: how many parameters' gradients are not finite.
    """

    step: int
    verdict: Verdict
    norm: float
    factor: float = 1.0
    loss: float = math.nan
    culprit: int = -1
    culprit_norm: float = math.nan
    nonfinite: int = 0


def outcome_of(step: int, numbers: list[float]) -> Outcome:
    """Return the outcome that a device reported: verdict, norm, loss, factor, and the three numbers of `culprit`.

    >>> outcome_of(3, [0.0, 2.0, 0.5, 1.0, 0.0, 2.0, 0.0]).verdict.name
    'ACCEPTED'
    """
    code, norm, loss, factor, position, size, count = numbers
    return Outcome(
        step=step, verdict=Verdict(int(code)), norm=norm, factor=factor, loss=loss, culprit=int(position),
        culprit_norm=size, nonfinite=int(count),
    )  # fmt: skip


def blamed(outcome: Outcome, norms: Tensor) -> Outcome:
    """Return the outcome with the culprit among the norms of all gradients; one read.

    >>> blamed(Outcome(step=1, verdict=Verdict.ACCEPTED, norm=5.0), torch.tensor([3.0, 4.0])).culprit
    1
    """
    position, size, count = culprit(norms).tolist()
    return replace(outcome, culprit=int(position), culprit_norm=size, nonfinite=int(count))


def culprit(norms: Tensor) -> Tensor:
    """Return position, norm and number of non-finite entries: three numbers in one tensor, without a read.

    The backward pass runs from the last parameter to the first and carries an inf or NaN on, so the non-finite gradient
    that came first is the last in the list. Without one it is the largest.

    >>> culprit(torch.tensor([1.0, torch.nan, torch.inf, 2.0])).tolist()
    [2.0, inf, 2.0]
    >>> culprit(torch.tensor([1.0, 5.0, 2.0])).tolist()
    [1.0, 5.0, 0.0]
    """
    finite = torch.isfinite(norms)
    place = torch.arange(1, len(norms) + 1, device=norms.device, dtype=torch.float64)
    largest = torch.where(finite, norms, -1.0).argmax()
    last = torch.where(finite, 0.0, place).argmax()
    count = (~finite).sum()
    position = torch.where(count > 0, last, largest)
    return torch.stack((position.double(), norms.gather(0, position.reshape(1))[0].double(), count.double()))
