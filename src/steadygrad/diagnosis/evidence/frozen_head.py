"""Whether the layer that makes the outputs was trained before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .collector import Collector, Unavailable
from .measured import Measured


@dataclass(frozen=True, kw_only=True)
class FrozenHead:
    """The last layer with a weight, as far as it is held as it is.

    Attributes:
        share: of its numbers, those of layers within it included, that require no gradient; 0 where it is not known.
    """

    share: float = 0.0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look at the last row of the measured profile."""
        try:
            head = collector.get(Measured).head
        except Unavailable:
            return cls()
        if head is None:
            return cls()
        held = list(collector.setup.model.get_submodule(head[0].path).parameters())
        numbers = sum(p.numel() for p in held)
        return cls(share=sum(p.numel() for p in held if not p.requires_grad) / numbers if numbers else 0.0)
