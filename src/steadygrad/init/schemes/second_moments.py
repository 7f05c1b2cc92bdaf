"""Second moments along a graph, while its layers are being given their scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import log_ndtr

from steadygrad.init.graph.flow import Flow
from steadygrad.init.graph.function import Function
from steadygrad.init.graph.node import Node, Ref
from steadygrad.theory import moments


@dataclass(frozen=True)
class Size:
    """First and second moment of a signal's entries."""

    mean: float
    q: float


class SecondMoments:
    """What every signal's entries are, in the limit of wide layers, taking branches that meet as independent.

    Args:
        flow: the graph.
        entering: of each input, by its name.
        layer: what a sum with weights, a norm or a layer that is one step gives; None to take a norm's 1.
    """

    def __init__(
        self, flow: Flow, entering: Callable[[str], Size], layer: Callable[[Node, SecondMoments], Size | None]
    ) -> None:
        self.flow = flow
        self.sizes: dict[Node, Size] = {}
        self.assumed: list[Node] = []
        for node in flow.nodes:
            if node in flow.signals:
                self.sizes[node] = entering(node.path) if node.name == "input" else self._size(node, layer)

    def of(self, node: Node) -> Size:
        """Return what is known of a signal."""
        return self.sizes.get(node, Size(0.0, 1.0))

    def _size(self, node: Node, layer: Callable[[Node, SecondMoments], Size | None]) -> Size:
        kind = self.flow.kind(node)
        found = layer(node, self) if kind in ("sum", "norm", "module") else None
        if found is not None:
            return found
        given = [self.of(ref.node) for ref in self.flow.fed_by(node)]
        if given and "max_pool" in node.name:
            return _of_largest(given[0], self.flow.fed_by(node)[0].node, node)
        match kind:
            case "norm":
                return Size(0.0, 1.0)
            case "join":
                return Size(sum(x.mean for x in given), _sum(given))
            case "gate":
                return Size(math.prod(x.mean for x in given), math.prod(x.q for x in given))
            case "function":
                return self._function(node)
            case _:
                return self._other(node, given)

    def _function(self, node: Node) -> Size:
        base = self.flow.base_of[Ref(node)]
        below = self.of(base.node)
        if base.node.name == "add" and self._is_rectified(base.node):
            return below  # a stream that was rectified stays nearly as it is
        return through(base.function, below.q)

    def _is_rectified(self, node: Node) -> bool:
        """Whether what a branch is added to has passed a function: then it is no Gaussian of mean 0."""
        return any(not self.flow.base(ref).function.identity for ref in self.flow.fed_by(node))

    def _other(self, node: Node, given: list[Size]) -> Size:
        first = given[0] if given else Size(0.0, 1.0)
        if node.name in ("cat", "stack"):
            return Size(sum(x.mean for x in given) / len(given), sum(x.q for x in given) / len(given))
        if node.name in ("mean", "avg_pool2d", "avg_pool1d", "avg_pool3d", "_adaptive_avg_pool2d"):
            return _of_mean(first, self.flow.fed_by(node)[0].node, node)
        if node.name == "glu":
            return Size(0.0, first.q * moments("sigmoid", first.q).second)
        if node.name == "bmm" or node.name.startswith("_scaled_dot_product"):
            return given[-1] if given else first  # attention: a mean of the values
        if self.flow.kind(node) == "other":
            self.assumed.append(node)
        return first


def _of_largest(before: Size, entered: Node, node: Node) -> Size:
    """Return a size that lets signal and gradient move alike: the root of what the largest of a window is larger by.

    The largest of k positions is larger, while the gradient's length is kept; a gain that takes back the root of it
    leaves either as far from where it was. Positions are taken as independent and rectified.
    """
    count = math.prod(entered.shape[2:]) / max(math.prod(node.shape[2:]), 1)
    factor = math.sqrt(largest(count))
    return Size(before.mean * math.sqrt(factor), before.q * factor)


def _of_mean(before: Size, entered: Node, node: Node) -> Size:
    """Return the size of a mean over positions; where some are left, one that lets signal and gradient move alike.

    Of k positions that have only their mean in common a share s = m + (1 - m)/k of the square is left, m = E[x]²/E[x²],
    of equal ones all: √s is taken, as far from either. The squared length of a gradient falls by 1/k. A gain γ makes of
    the two γ √s and γ/k, which are as far from 1 where γ² = k/√s.
    """
    count = math.prod(entered.shape) / max(math.prod(node.shape), 1)
    left = before.mean**2 + (before.q - before.mean**2) / count
    if math.prod(node.shape[2:]) < 2 or count <= 1 or left <= 0:
        return Size(before.mean, left)
    kept = math.sqrt(left / before.q)
    seen = math.sqrt(kept / count) * before.q
    return Size(before.mean * math.sqrt(seen / left), seen)


@lru_cache(maxsize=64)
def largest(count: float) -> float:
    """Return E[max(z₁ ... z_k, 0)²]/E[max(z, 0)²] of independent normals: ∫₀ 4 z (1 - Φ(z)^k) dz, by parts.

    >>> round(largest(1.0), 5)
    1.0
    """
    z = np.linspace(0.0, 12.0, 4801)
    return float(4 * np.trapezoid(z * -np.expm1(count * log_ndtr(z)), z))


def _sum(given: list[Size]) -> float:
    """E[(x + y)²] of signals whose deviations are independent."""
    return sum(x.q - x.mean**2 for x in given) + sum(x.mean for x in given) ** 2


def through(function: Function, q: float) -> Size:
    """Return the moments of a function of N(0, q).

    >>> from steadygrad.init.graph.function import IDENTITY
    >>> through(IDENTITY, 2.0)
    Size(mean=0.0, q=2.0)
    """
    if function.identity or not 0 < q < math.inf:
        return Size(0.0, q)
    found = moments(function.theory(), q)
    return Size(found.mean, found.second if 0 < found.second < math.inf else q)
