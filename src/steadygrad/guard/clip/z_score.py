"""Clipping norms that are outliers among their predecessors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .history import History
from .policy import Scaling, at_least_zero, between, order_of_norm, whole


class ZScore(Scaling):
    """Clip by the global norm where its logarithm lies too many robust standard deviations above the median.

    ``limit = exp(median + z · σ)`` over the last log-norms, ``σ = 1.4826 · MAD``, at least `floor`. Norms scatter by
    factors, hence the logarithm; half of the window could be outliers before median and MAD follow them, where mean and
    standard deviation follow the first. Only norms above count. A clipped norm enters the window at the limit, one that
    is zero, not finite or not accepted never does.

    Args:
        z: how many standard deviations are allowed, > 0.
        window: how many norms are remembered.
        warmup: how many must be known before anything is clipped.
        floor: least standard deviation of a log-norm, >= 0; 0.01 lets norms scatter by 1% whatever the window says.
        p: order of the norm.

    Raises:
        ValueError: a setting is out of its range.

    Reference: Kumar et al. 2025, ZClip: adaptive spike mitigation for LLM pre-training, section 3 (there with mean and
    standard deviation); Rousseeuw, Croux 1993 for the factor of the MAD.

    >>> policy, weight = ZScore(3, warmup=3), torch.nn.Parameter(torch.zeros(1))
    >>> for gradient in (1.0, 1.0, 1.0, 8.0):
    ...     weight.grad = torch.tensor([gradient])
    ...     _ = policy(weight)
    >>> weight.grad  # exp(3 · 0.01)
    tensor([1.0305])
    """

    def __init__(
        self, z: float = 3.0, *, window: int = 128, warmup: int = 16, floor: float = 0.01, p: float = 2.0
    ) -> None:
        super().__init__()
        self.z = between("z", z, 0)
        self.warmup = whole("warmup", warmup, 0)
        self.floor = at_least_zero("floor", floor)
        self.p = order_of_norm(p)
        self.history = History(whole("window", window, 1))

    def limit(self) -> Tensor:
        """Return ``exp(median + z σ)``; inf during the warm-up."""
        median, sigma = self.history.median_and_sigma()
        warm = self.history.count >= self.warmup
        return torch.where(warm, torch.exp(median + self.z * sigma.clamp(min=self.floor)), torch.inf)

    def factor(self, norm: Tensor) -> Tensor:
        """Return ``min(1, limit / norm)``."""
        self.history.to_(norm.device)
        return super().factor(norm)

    def observe_(self, norm: Tensor, factor: Tensor, accepted: Tensor | None = None) -> None:
        """Take the norm after clipping into the history."""
        super().observe_(norm, factor, accepted)
        self.history.add_((norm * factor).log(), accepted)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, bit for bit, and the counts."""
        return {**super().state_dict(), "history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self.history.load_state_dict(state["history"])
