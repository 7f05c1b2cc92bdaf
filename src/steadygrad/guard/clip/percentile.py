"""Clipping at a percentile of the norms seen so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .history import History
from .policy import Scaling, between, order_of_norm, whole


class Percentile(Scaling):
    """Clip by the global norm at a percentile of its own history.

    Nothing is clipped during the warm-up. A step that is not accepted, or whose norm is not finite, never enters the
    history, so one NaN does not blind the policy.

    Args:
        percent: percentile of the history that is the limit, above 0 and at most 100.
        window: how many norms are remembered.
        warmup: how many must be known before anything is clipped.
        p: order of the norm.

    Raises:
        ValueError: a setting is out of its range.

    Reference: Seetharaman, Wichern, Pardo, Le Roux 2020, AutoClip: adaptive gradient clipping for source separation
    networks, algorithm 1.

    >>> policy, weight = Percentile(50, warmup=2), torch.nn.Parameter(torch.zeros(1))
    >>> for gradient in (1.0, 3.0, 8.0):
    ...     weight.grad = torch.tensor([gradient])
    ...     _ = policy(weight)
    >>> weight.grad  # the median of 1 and 3
    tensor([2.])
    """

    def __init__(self, percent: float, *, window: int = 1024, warmup: int = 16, p: float = 2.0) -> None:
        super().__init__()
        self.percent = between("percent", percent, 0, 100)
        self.warmup = whole("warmup", warmup, 0)
        self.p = order_of_norm(p)
        self.history = History(whole("window", window, 1))

    def limit(self) -> Tensor:
        """Return the percentile of the history; inf during the warm-up."""
        warm = self.history.count >= self.warmup
        return torch.where(warm, self.history.quantile(self.percent / 100), torch.inf)

    def factor(self, norm: Tensor) -> Tensor:
        """Return ``min(1, limit / norm)``."""
        self.history.to_(norm.device)
        return super().factor(norm)

    def observe_(self, norm: Tensor, factor: Tensor, accepted: Tensor | None = None) -> None:
        """Take the norm before clipping into the history."""
        super().observe_(norm, factor, accepted)
        self.history.add_(norm, accepted)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, bit for bit, and the counts."""
        return {**super().state_dict(), "history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self.history.load_state_dict(state["history"])
