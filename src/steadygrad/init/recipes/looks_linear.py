"""Mirrored weights, with which a network of rectifiers is linear when it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .orthogonal import unit_rms
from .recipe import Recipe, matrices, middle_tap

Mirror = Literal["both", "outputs", "inputs", "none"]
MIRRORS: tuple[Mirror, ...] = ("both", "outputs", "inputs", "none")


@dataclass(frozen=True)
class LooksLinear(Recipe):
    """[[w, -w], [-w, w]] with an orthogonal w at the middle tap; a network's first weight mirrors its outputs alone.

    Rectified outputs come in pairs relu(u), relu(-u), whose difference, which the next mirrored inputs take, is u.

    Attributes:
        std: root mean square of the entries over all taps.
        mirror: which sides are doubled.

    Reference: Balduzzi et al., "The shattered gradients problem", 2017, section 4.

    >>> w = LooksLinear(1.0, "both").values((2, 2), None, Stream.named(0, "w"))
    >>> bool(w[0, 0] == -w[0, 1]), bool(w[0, 0] == w[1, 1])
    (True, True)
    """

    std: float
    mirror: Mirror

    @property
    def rms(self) -> float:
        """Over all taps."""
        return self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"looks linear, {self.mirror} mirrored, rms {self.std:.3g}"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.zeros(shape), matrices(shape, layout)
        rows, columns = self._halved(found)
        middle = middle_tap(found)
        for i, block in enumerate(found.view(whole)):
            w = unit_rms(rows, columns, stream.generator(i)).mul_(self.std * math.sqrt(math.prod(found.taps)))
            w = torch.cat([w, -w]) if rows < found.outputs else w
            block[middle].copy_(torch.cat([w, -w], 1) if columns < found.inputs else w)
        return whole

    def _halved(self, found: Layout) -> tuple[int, int]:
        rows = found.outputs // 2 if self.mirror in ("both", "outputs") else found.outputs
        return rows, found.inputs // 2 if self.mirror in ("both", "inputs") else found.inputs

    def code(self, layout: Layout | None) -> str:
        """Not part of any scheme that is written as code."""
        raise NotImplementedError("looks-linear weights are not written as code")

    def check(self, shape: tuple[int, ...], layout: Layout | None) -> str | None:
        """What is mirrored must be even."""
        found = matrices(shape, layout)
        sides = {"outputs": found.outputs, "inputs": found.inputs}
        odd = [f"{n} {side}" for side, n in sides.items() if self.mirror in ("both", side) and n % 2]
        return f"must have an even number of what is mirrored, got {' and '.join(odd)}" if odd else None
