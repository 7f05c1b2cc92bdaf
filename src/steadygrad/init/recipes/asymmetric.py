"""Randomized asymmetric weights: one positive weight a unit, against units that are born dead."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe, matrices


@dataclass(frozen=True)
class Asymmetric(Recipe):
    """N(0, sigma²/n) for the n weights of a unit, but for one of them, at a random place: Beta(2, 1), so positive.

    Attributes:
        sigma: sqrt(n) times the deviation of the normal weights.
        fan_in: n.

    Reference: Lu et al., "Dying ReLU and initialization: theory and numerical examples", 2019, section 4.

    >>> w = Asymmetric(0.5, 9).values((4, 9), None, Stream.named(0, "w"))
    >>> bool((w.max(dim=1).values > 0).all())
    True
    """

    sigma: float
    fan_in: int

    @property
    def rms(self) -> float:
        """E[w²] = ((n - 1) sigma²/n + 1/2)/n, since Beta(2, 1) has the second moment 1/2."""
        n = self.fan_in
        return math.sqrt(((n - 1) * self.sigma**2 / n + 0.5) / n)

    @property
    def words(self) -> str:
        """In words."""
        return f"randomized asymmetric, std {self.sigma / math.sqrt(self.fan_in):.3g}"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.empty(shape), matrices(shape, layout)
        n = found.inputs * math.prod(found.taps)
        g = stream.generator()
        w = torch.randn(found.blocks, found.outputs, n, generator=g).mul_(self.sigma / math.sqrt(self.fan_in))
        place = torch.randint(n, (found.blocks, found.outputs, 1), generator=g)
        # sqrt(u) of a uniform u has the density 2x: Beta(2, 1).
        w.scatter_(2, place, torch.rand(place.shape, generator=g).sqrt_())
        view = found.view(whole)
        view.copy_(w.reshape(view.shape))
        return whole

    def code(self, layout: Layout | None) -> str:
        """Not part of any scheme that is written as code."""
        raise NotImplementedError("asymmetric weights are not written as code")
