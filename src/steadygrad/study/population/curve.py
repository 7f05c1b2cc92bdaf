"""What is kept of a training: which networks are left, what was skipped and clipped, and the curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygrad.study.point import Point

_NEVER = -1
_LOOK_EVERY = 64


class Curve:
    """Counters and curves of every network, on its device; read once, at the end.

    Args:
        points: of the networks.
        device: theirs.
    """

    def __init__(self, points: Sequence[Point], device: torch.device) -> None:
        count, last = len(points), max(points[0].steps - 1, 0)
        self.steps = self._done_by_all = 0
        self._one_by_one = device.type != "cpu"  # where looking at a number waits for the device
        self._kept = {round(s) for s in np.linspace(0, last, points[0].curve)} if points[0].curve else set()
        self._stops = torch.tensor([p.nonfinite == "stop" for p in points], device=device)
        self._diverged = torch.full((count,), _NEVER, device=device)
        self._done, self._skipped, self._clipped = (
            torch.zeros(count, dtype=torch.long, device=device) for _ in range(3)
        )
        self._clips = [p.clip_norm is not None for p in points]
        self._rows: list[tuple[int, Tensor, Tensor]] = []
        self._read: dict[str, Any] | None = None

    @property
    def keeps_this_step(self) -> bool:
        """Whether the step that comes is a point of the curves."""
        return self.steps in self._kept

    def see(self, loss: Tensor, norms: Tensor) -> Tensor | None:
        """Take note of a step; return which networks are to take it, or None where all are.

        Args:
            loss: of each network on its batch.
            norms: of its gradient, not yet clipped; finite bounds will do where the step is not kept.
        """
        if self.keeps_this_step:
            self._rows.append((self.steps, loss.clone(), norms.clone()))
        if self._all_go_on(loss, norms):
            self.steps += 1
            self._done_by_all += 1
            return None
        finite = torch.isfinite(loss) & torch.isfinite(norms)
        left = ~(self._stops & (self._diverged != _NEVER))
        self._diverged.masked_fill_(left & ~finite & (self._diverged == _NEVER), self.steps)
        active = left & finite
        self._done += active
        self._skipped += left & ~finite & ~self._stops
        self.steps += 1
        return active

    def _all_go_on(self, loss: Tensor, norms: Tensor) -> bool:
        """Whether one product says that all is finite; once it does not, each network is looked at for good."""
        self._one_by_one = self._one_by_one or not math.isfinite(torch.dot(loss, norms))
        return not self._one_by_one

    def count_clipped(self, clipped: Tensor, active: Tensor | None) -> None:
        """Take note of which networks' norms were too large, of those that took the step."""
        self._clipped += clipped if active is None else clipped & active

    def any_left(self) -> bool:
        """Return whether a network is left to train; looked at now and then, since reading it waits for a device."""
        return (
            not self._one_by_one
            or bool(self.steps % _LOOK_EVERY)
            or bool((~self._stops | (self._diverged == _NEVER)).any())
        )

    def columns(self, network: int) -> dict[str, Any]:
        """Return the numbers of one network, named as `Outcome` names them."""
        if self._read is None:
            self._read = self._to_host()
        read, diverged = self._read, self._read["diverged"][network]
        done = read["done"][network]
        return {
            "steps_done": done,
            "diverged_at": None if diverged == _NEVER else diverged,
            "skipped": read["skipped"][network],
            "clipped": read["clipped"][network] / done if self._clips[network] and done else math.nan,
            "curve_step": tuple(read["step"]),
            "curve_loss": tuple(read["loss"][network]),
            "curve_grad_norm": tuple(read["norm"][network]),
        }

    def _to_host(self) -> dict[str, Any]:
        count = len(self._clips)
        losses, norms = (
            torch.stack(rows, 1).tolist() if rows else [[]] * count
            for rows in ([row[1] for row in self._rows], [row[2] for row in self._rows])
        )
        return {
            "diverged": self._diverged.tolist(),
            "done": (self._done + self._done_by_all).tolist(),
            "skipped": self._skipped.tolist(),
            "clipped": self._clipped.tolist(),
            "step": [row[0] for row in self._rows],
            "loss": losses,
            "norm": norms,
        }
