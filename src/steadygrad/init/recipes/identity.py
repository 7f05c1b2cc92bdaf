"""The identity, at the middle tap of a kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe, matrices, middle_tap


@dataclass(frozen=True)
class Identity(Recipe):
    """`scale` on each block's diagonal, at the middle tap: what goes in comes out, `scale` times.

    >>> Identity(1.0).values((2, 3), None, Stream.named(0, "w")).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    scale: float = 1.0

    @property
    def rms(self) -> float:
        """Depends on the shape, so it is not known here."""
        return math.nan

    @property
    def words(self) -> str:
        """In words."""
        return "the identity" if self.scale == 1 else f"{self.scale:.3g} times the identity"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.zeros(shape), matrices(shape, layout)
        found.view(whole)[middle_tap(found)].diagonal(dim1=1, dim2=2).fill_(self.scale)
        return whole

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        at = layout or Layout(1, 0, 0)
        turned = ".transpose(1, 2)" if at.transposed else ""
        middle = ", ".join(["...", *(str(k // 2) for k in at.taps)])
        return f"p.zero_().view({at.shape}){turned}[{middle}].diagonal(dim1=1, dim2=2).fill_({self.scale:.9g})"
