"""Each network's gradient clipped by the threshold of its own point, in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from steadygrad.study.point import Point

# What torch.nn.utils.clip_grad_norm_ adds to the norm.
_EPSILON = 1e-6


class Clipper:
    """Clips each network by the threshold of its own point; one without a threshold is left as it is.

    Args:
        points: of the networks.
        like: a tensor of the type and device of the gradients.
    """

    def __init__(self, points: Sequence[Point], like: Tensor) -> None:
        self._norm = _thresholds([point.clip_norm for point in points], like)
        self._value = _thresholds([point.clip_value for point in points], like)

    def clip_(self, gradients: Sequence[Tensor], norms: Tensor) -> Tensor | None:
        """Clip in place; return which networks a norm was too large of, or None where nothing clips by norm."""
        if self._value is not None:
            limit = self._value.view(1, -1, 1, 1)
            for g in gradients:
                g.clamp_(-limit, limit)
        if self._norm is None:
            return None
        factor = (self._norm / (norms + _EPSILON)).clamp_max_(1.0).view(1, -1, 1, 1)
        for g in gradients:
            g.mul_(factor)
        return norms > self._norm


def _thresholds(values: Sequence[float | None], like: Tensor) -> Tensor | None:
    if not any(values):
        return None
    numbers = [math.inf if value is None else value for value in values]
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)
