"""What a step is judged by: a few numbers on the device, and the judgement, taken there or by the host."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .clip.norms import reads_freely
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
        largest: norm after clipping above which a step counts as not finite; see `largest_norm`.
    """

    norm: Tensor
    loss: Tensor
    factor: Tensor
    limits: tuple[Tensor, Tensor] | None
    largest: float = math.inf

    def read(self) -> tuple[Verdict, float, float, float]:
        """Return verdict, norm, loss and factor: one transfer to the host."""
        numbers = (self.norm, self.loss, self.factor, *(self.limits or ()))
        read = [n.item() for n in numbers] if reads_freely(self.norm.device) else torch.stack(numbers).tolist()
        norm, loss, factor, *limits = read
        if not math.isfinite(norm + loss) or norm * factor > self.largest:
            return Verdict.NONFINITE, norm, loss, factor
        spike = bool(limits) and (norm > limits[0] or loss > limits[1])
        return (Verdict.SPIKE if spike else Verdict.ACCEPTED), norm, loss, factor

    def judge(self) -> tuple[Tensor, Tensor]:
        """Return whether the step is finite, and whether it is accepted, unread."""
        finite = torch.isfinite(self.norm + self.loss) & (self.norm * self.factor <= self.largest)
        if self.limits is None:
            return finite, finite
        return finite, finite & (self.norm <= self.limits[0]) & (self.loss <= self.limits[1])


def evidence(norm: Tensor, loss: Tensor, clip: Policy | None, spike: Spike | None, largest: float) -> Evidence:
    """Return what the policy and the spike test make of a norm and a loss.

    >>> evidence(torch.tensor(2.0).double(), torch.tensor(1.0).double(), None, None, 1e19).read()
    (<Verdict.ACCEPTED: 0>, 2.0, 1.0, 1.0)
    """
    factor = clip.factor(norm) if isinstance(clip, Scaling) else torch.ones_like(norm)
    limits = spike.limits(norm.device) if spike else None
    # What another policy leaves of a gradient is not known before it acts; it is bounded by the policy itself.
    known = clip is None or isinstance(clip, Scaling)
    return Evidence(norm=norm, loss=loss, factor=factor, limits=limits, largest=largest if known else math.inf)


def largest_norm(parameters: list[nn.Parameter]) -> float:
    """Return the norm above which an entry's square can overflow: sqrt(max) of single precision, or of double.

    Second moments that became inf in one step stay inf, and their parameters never move again. Half precision can hold
    no gradient that large, and kernels square it in single precision.

    >>> f"{largest_norm([nn.Parameter(torch.zeros(1))]):.3g}"
    '1.84e+19'
    """
    double = all(p.dtype in (torch.float64, torch.complex128) for p in parameters)
    return math.sqrt(torch.finfo(torch.float64 if double else torch.float32).max)
