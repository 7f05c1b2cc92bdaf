"""What zero padding takes from a convolution: how many of its taps lie inside of what it sees, and where.

A window at a border has fewer terms than fan_in says, so what comes out is smaller there, and windows near it see that.
Followed as the second moment of each position relative to the mean, from layer to layer: over depth the share that a
window has tends to the largest eigenvalue of its mean, (1 + 2 cos(π/(n + 1)))/3 for three taps over n positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from .flow import Flow
from .node import Node

_POOLED = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_CONVOLVED = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_FIRST = 2  # dimensions before the positions


@dataclass
class Borders:
    """`inside`: of each convolution the share of its terms that are there, in second moment."""

    flow: Flow
    inside: dict[Node, float] = field(default_factory=dict)
    _shares: dict[Node, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.flow.nodes:
            if node in self.flow.signals and len(node.shape) > _FIRST:
                share = self._convolved(node) if _is_convolution(node) else self._passed(node)
                if share is not None:
                    self._shares[node] = share

    def of(self, node: Node) -> float:
        """Return the share of a layer's terms that are there; 1 of one without padding."""
        return self.inside.get(node, 1.0)

    def _convolved(self, node: Node) -> torch.Tensor | None:
        x, weight = node.args[0].node, node.args[1].node
        stride, padding, dilation, transposed = node.args[3:7]
        axes = len(node.shape) - _FIRST
        if transposed or axes not in _CONVOLVED or len(weight.shape) != len(node.shape):
            return None
        ones = torch.ones((1, 1, *weight.shape[_FIRST:]), device="cpu")
        share = self._shares.get(x, torch.ones(x.shape[_FIRST:], device="cpu"))[None, None]
        y = _CONVOLVED[axes](share, ones, None, stride, padding, dilation)[0, 0]
        mean = float(y.mean())
        if not mean > 0:
            return None
        self.inside[node] = mean / ones.numel()
        return y / mean

    def _passed(self, node: Node) -> torch.Tensor | None:
        """What takes the positions as they are hands their shares on; a pool takes means; of a sum the mean counts."""
        known = [self._shares[ref.node] for ref in self.flow.fed_by(node) if ref.node in self._shares]
        places, axes = node.shape[_FIRST:], len(node.shape) - _FIRST
        fitting = [share for share in known if share.dim() == axes and axes in _POOLED]
        if not fitting:
            return None
        met = [s if s.shape == places else _pooled(s, places) for s in fitting]
        share = sum(met[1:], met[0])
        return share / share.mean()


def _pooled(share: torch.Tensor, places: tuple[int, ...]) -> torch.Tensor:
    pooled: torch.Tensor = _POOLED[share.dim()](share[None, None], places)[0, 0]  # type: ignore[arg-type]
    return pooled


def _is_convolution(node: Node) -> bool:
    return node.name in ("convolution", "_convolution")
