"""When a loss or a gradient norm is an outlier among its predecessors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .clip.history import History
from .clip.policy import at_least_zero, between, whole


class Spike:
    """A one-sided outlier test on the log-norm of the gradient and on the loss, by median and MAD.

    ``norm > exp(m + z σ)`` or ``loss > m + z σ``, with σ = 1.4826 MAD of the window, at least `floor` (for the loss: of
    its median's size). Refused steps, and whatever is not finite, never enter the windows.

    Args:
        z: how many robust standard deviations are allowed, > 0.
        window: how many accepted steps are remembered.
        warmup: how many must be known before anything is a spike.
        floor: least standard deviation, >= 0.

    Raises:
        ValueError: a setting is out of its range.

    Reference: Chowdhery et al. 2022, PaLM, section 5.1, skips the batches around a spike; OLMo 2 (2024), section 4.3.1,
    skips steps beyond a number of standard deviations in loss or norm.

    >>> spike = Spike(z=6, warmup=2)
    >>> for loss in (1.0, 1.1, 0.9):
    ...     spike.observe_(torch.tensor(1.0), torch.tensor(loss), None)
    >>> [round(limit.item(), 3) for limit in spike.limits(torch.device("cpu"))]
    [1.062, 1.89]
    """

    def __init__(self, z: float = 6.0, *, window: int = 128, warmup: int = 32, floor: float = 0.01) -> None:
        self.z = between("z", z, 0)
        self.warmup = whole("warmup", warmup, 0)
        self.floor = at_least_zero("floor", floor)
        self.log_norms = History(whole("window", window, 1))
        self.losses = History(window)

    def limits(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the largest norm and the largest loss that are no spike; inf during the warm-up."""
        self.log_norms.to_(device)
        self.losses.to_(device)
        center, sigma = self.log_norms.median_and_sigma()
        norm = torch.exp(center + self.z * sigma.clamp(min=self.floor))
        middle, spread = self.losses.median_and_sigma()
        loss = middle + self.z * torch.maximum(spread, self.floor * middle.abs())
        return self._after_warmup(self.log_norms, norm), self._after_warmup(self.losses, loss)

    def observe_(self, norm: Tensor, loss: Tensor, accepted: Tensor | None) -> None:
        """Take an accepted step into the windows; a loss that is NaN (unknown) stays out."""
        self.log_norms.add_(norm.log(), accepted)
        self.losses.add_(loss, accepted)

    def state_dict(self) -> dict[str, Any]:
        """Return both windows, bit for bit."""
        return {"log_norms": self.log_norms.state_dict(), "losses": self.losses.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.log_norms.load_state_dict(state["log_norms"])
        self.losses.load_state_dict(state["losses"])

    def _after_warmup(self, history: History, limit: Tensor) -> Tensor:
        return torch.where(history.count >= self.warmup, limit, torch.inf)
