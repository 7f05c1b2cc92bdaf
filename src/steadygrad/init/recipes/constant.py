"""One number everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe


@dataclass(frozen=True)
class Constant(Recipe):
    """One number everywhere.

    >>> Constant(0.0).words, Constant(1.0).words
    ('zeros', 'ones')
    """

    value: float

    @property
    def rms(self) -> float:
        """Its size."""
        return abs(self.value)

    @property
    def words(self) -> str:
        """In words."""
        return {0.0: "zeros", 1.0: "ones"}.get(self.value, f"constant {self.value:.3g}")

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        return torch.full(shape, self.value)

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        return "p.zero_()" if self.value == 0 else f"p.fill_({self.value:.9g})"
