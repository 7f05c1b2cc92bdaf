"""The operator by which activations grow at once beyond what they may grow by over the whole depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.trainable_depth import LOST, log_ratio
from steadygrad.measurement import Operation

from .collector import Collector, Unavailable
from .flow import TRANSPARENT
from .measured import Measured
from .traced import Traced


@dataclass(frozen=True, kw_only=True)
class Leap:
    """The first such operator of the model.

    Attributes:
        operation: None where there is none, or where operators could not be traced.
        grown: the logarithm of its second moment against that of what it was given, or against 1 where that is less.
    """

    operation: Operation | None = None
    grown: float = math.nan

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Ask the operators, where they are known."""
        try:
            model = collector.get(Traced).model
        except Unavailable:
            return cls()
        came: dict[int, float] = {}  # of what comes of the input: a weight's own size is no signal's
        began = collector.get(Measured).observation.input_q
        for operation in model:
            before = [came[i] for i in operation.sources if i in came]
            if not before and operation.name in TRANSPARENT:
                continue
            came[operation.index] = operation.q
            grown = log_ratio(operation.q, max(1.0, *(before or [began])))
            if grown > LOST:
                return cls(operation=operation, grown=grown)
        return cls()
