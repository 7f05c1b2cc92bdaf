"""A window of numbers on the device, which a NaN cannot enter, and its quantiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# A normal distribution's standard deviation in units of its median absolute deviation: 1 / Φ^-1(3/4).
SIGMA_PER_MAD = 1.482602218505602


class History:
    """The last `window` finite numbers; nothing is read by the host.

    Args:
        window: how many are kept, >= 1.

    >>> history = History(3)
    >>> for value in (1.0, float("nan"), 2.0, 3.0, 4.0):
    ...     history.add_(torch.tensor(value))
    >>> history.quantile(0.5).item()
    3.0
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.values = torch.full((window,), torch.inf, dtype=torch.float64)
        self.count = torch.zeros((), dtype=torch.int64)

    def add_(self, value: Tensor, accepted: Tensor | None = None) -> None:
        """Take a number in, unless it is not finite or not accepted; the oldest makes room."""
        self.to_(value.device)
        enters = torch.isfinite(value) if accepted is None else torch.isfinite(value) & accepted
        place = (self.count % self.window).reshape(1)
        self.values.scatter_(0, place, torch.where(enters, value.double(), self.values.gather(0, place)))
        self.count += enters

    def to_(self, device: torch.device) -> None:
        """Move to where the numbers come from."""
        if self.values.device != device:
            self.values, self.count = self.values.to(device), self.count.to(device)

    def quantile(self, q: float) -> Tensor:
        """Return the quantile by linear interpolation; inf where nothing was seen yet."""
        return _quantile(self.values, self.count.clamp(max=self.window), q)

    def median_and_sigma(self) -> tuple[Tensor, Tensor]:
        """Return the median, and the standard deviation that the median absolute deviation stands for."""
        count = self.count.clamp(max=self.window)
        median = _quantile(self.values, count, 0.5)
        deviations = torch.where(torch.isinf(self.values), torch.inf, (self.values - median).abs())
        return median, SIGMA_PER_MAD * _quantile(deviations, count, 0.5)

    def state_dict(self) -> dict[str, Any]:
        """Return the window, bit for bit."""
        return {"values": self.values.cpu().clone(), "count": self.count.cpu().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a window."""
        device = self.values.device
        self.values, self.count = state["values"].clone().to(device), state["count"].clone().to(device)
        self.window = len(self.values)


def _quantile(values: Tensor, count: Tensor, q: float) -> Tensor:
    """Quantile of the `count` smallest entries; the rest is inf."""
    ordered = values.sort().values
    last = (count - 1).clamp(min=0)
    position = last * q
    low = position.floor().long()
    ends = ordered.gather(0, torch.stack((low, torch.minimum(low + 1, last))))
    share = position - low
    # Where both ends are the same, also inf, no difference is taken.
    return torch.where(share > 0, ends[0] + share * (ends[1] - ends[0]), ends[0])
