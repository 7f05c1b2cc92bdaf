"""Softmaxes that a model takes on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from steadygrad.measurement import Operation

from .collector import Collector, Unavailable
from .traced import Traced


@dataclass(frozen=True, kw_only=True)
class Softmaxes:
    """Softmaxes of the model, for rules that can do without them.

    Attributes:
        over_one: those over a dimension of size one, in the order of execution.
    """

    over_one: tuple[Operation, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look among the operators; where they cannot be traced, none is known."""
        try:
            traced = collector.get(Traced)
        except Unavailable:
            return cls(over_one=())
        return cls(over_one=tuple(o for o in traced.model if o.classes == 1))
