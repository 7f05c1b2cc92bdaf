"""What a step is judged by: a few numbers on the device, and the judgement, taken there or by the host."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .clip.policy import Policy, Scaling
from .spike import Spike
from .verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Numbers in double precision on the device.

    Attributes:
        norm: of the unscaled gradient.
        loss: sum of the losses; 0 where none was seen.
        factor: of the clipping policy, 1 without one that scales.
        limits: largest norm and largest loss that are no spike; None where spikes are ignored.
    """

    norm: Tensor
    loss: Tensor
    factor: Tensor
    limits: tuple[Tensor, Tensor] | None

    def read(self) -> tuple[Verdict, float, float, float]:
        """Return verdict, norm, loss and factor: one transfer to the host."""
        norm, loss, factor, *limits = torch.stack((self.norm, self.loss, self.factor, *(self.limits or ()))).tolist()
        if not math.isfinite(norm + loss):
            return Verdict.NONFINITE, norm, loss, factor
        spike = bool(limits) and (norm > limits[0] or loss > limits[1])
        return (Verdict.SPIKE if spike else Verdict.ACCEPTED), norm, loss, factor

    def judge(self) -> tuple[Tensor, Tensor]:
        """Return whether the step is finite, and whether it is accepted, unread."""
        finite = torch.isfinite(self.norm + self.loss)
        if self.limits is None:
            return finite, finite
        return finite, finite & (self.norm <= self.limits[0]) & (self.loss <= self.limits[1])


def evidence(norm: Tensor, loss: Tensor, clip: Policy | None, spike: Spike | None) -> Evidence:
    """Return what the policy and the spike test make of a norm and a loss.

    >>> evidence(torch.tensor(2.0).double(), torch.tensor(1.0).double(), None, None).read()
    (<Verdict.ACCEPTED: 0>, 2.0, 1.0, 1.0)
    """
    factor = clip.factor(norm) if isinstance(clip, Scaling) else torch.ones_like(norm)
    return Evidence(norm=norm, loss=loss, factor=factor, limits=spike.limits(norm.device) if spike else None)
