"""Statistics of clipping that stay on the device until they are asked for."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_KEPT = 128


@dataclass(frozen=True, kw_only=True)
class ClipStatistics:
    """What a policy did so far.

    Attributes:
        steps: gradients that it saw and that were accepted.
        clipped: how many of them it changed.
        norms: norms before clipping of the last 128, oldest first.
        angles: by how many radians the direction turned, for the same steps; empty where a policy keeps the direction
            or does not measure it.

    >>> ClipStatistics(steps=4, clipped=1, norms=(1.0, 1.0, 9.0, 1.0)).rate
    0.25
    """

    steps: int
    clipped: int
    norms: tuple[float, ...] = ()
    angles: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Share of the steps that were clipped; NaN before the first."""
        return self.clipped / self.steps if self.steps else math.nan


class Tally:
    """Counts and recent norms; adding costs no read, and references to tensors that exist anyhow.

    >>> tally = Tally()
    >>> tally.add(torch.tensor(2.0), torch.tensor(0.5))
    >>> tally.read()
    ClipStatistics(steps=1, clipped=1, norms=(2.0,), angles=())
    """

    def __init__(self) -> None:
        self._steps: Tensor | int = 0
        self._clipped: Tensor | int = 0
        self._norms: deque[Tensor] = deque(maxlen=_KEPT)
        self._angles: deque[Tensor] = deque(maxlen=_KEPT)

    def add(self, norm: Tensor, factor: Tensor, accepted: Tensor | None = None, *, angle: Tensor | None = None) -> None:
        """Count a step that scaled by `factor` (< 1 means clipped) where `accepted` (always, without it) is true."""
        clipped = (factor < 1) if accepted is None else (factor < 1) & accepted
        self._steps = self._steps + (1 if accepted is None else accepted.to(torch.int64))
        self._clipped = self._clipped + clipped.to(torch.int64)
        self._norms.append(norm if accepted is None else torch.where(accepted, norm, math.nan))
        if angle is not None:
            self._angles.append(angle if accepted is None else torch.where(accepted, angle, math.nan))

    def read(self) -> ClipStatistics:
        """Return the numbers; this waits for the device."""
        return ClipStatistics(
            steps=int(self._steps), clipped=int(self._clipped), norms=_seen(self._norms), angles=_seen(self._angles)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {
            "steps": int(self._steps),
            "clipped": int(self._clipped),
            "norms": [float(n) for n in self._norms],
            "angles": [float(a) for a in self._angles],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._steps, self._clipped = state["steps"], state["clipped"]
        self._norms = deque((torch.tensor(n, dtype=torch.float64) for n in state["norms"]), maxlen=_KEPT)
        self._angles = deque((torch.tensor(a, dtype=torch.float64) for a in state["angles"]), maxlen=_KEPT)


def _seen(values: deque[Tensor]) -> tuple[float, ...]:
    return tuple(v for v in (float(t) for t in values) if not math.isnan(v))
