"""Sparse weights: few connections a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe, matrices


@dataclass(frozen=True)
class Sparse(Recipe):
    """Each unit has exactly `connections` weights that are not zero, at random places, N(0, std² n / connections).

    Attributes:
        std: root mean square over all n weights of a unit.
        connections: weights of a unit that are drawn.

    Reference: Martens, "Deep learning via Hessian-free optimization", 2010, section 5.

    >>> w = Sparse(1.0, 2).values((3, 8), None, Stream.named(0, "w"))
    >>> w.count_nonzero(dim=1).tolist()
    [2, 2, 2]
    """

    std: float
    connections: int

    @property
    def rms(self) -> float:
        """Over all weights."""
        return self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"sparse, {self.connections} connections a unit, rms {self.std:.3g}"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.empty(shape), matrices(shape, layout)
        n, g = found.inputs * math.prod(found.taps), stream.generator()
        order = torch.rand(found.blocks, found.outputs, n, generator=g)
        place = order.topk(self.connections, dim=2).indices
        drawn = torch.randn(place.shape, generator=g).mul_(self.std * math.sqrt(n / self.connections))
        view = found.view(whole)
        view.copy_(torch.zeros(order.shape).scatter_(2, place, drawn).reshape(view.shape))
        return whole

    def code(self, layout: Layout | None) -> str:
        """Not part of any scheme that is written as code."""
        raise NotImplementedError("sparse weights are not written as code")

    def check(self, shape: tuple[int, ...], layout: Layout | None) -> str | None:
        """A unit must have as many weights."""
        found = matrices(shape, layout)
        n = found.inputs * math.prod(found.taps)
        return None if self.connections <= n else f"must have at least {self.connections} weights a unit, got {n}"
