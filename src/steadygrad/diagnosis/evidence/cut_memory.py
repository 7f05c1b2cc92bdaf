"""A loop over the steps of a sequence that cuts its state from the graph."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.graph_cut import cuts
from steadygrad.measurement import Operation

from .collector import Collector, Unavailable
from .memories import Memories, Memory
from .traced import Traced


@dataclass(frozen=True, kw_only=True, eq=False)
class CutMemory:
    """What no gradient comes back to, for a rule that can do without.

    Attributes:
        memory: of the recurrent layer whose first steps get a gradient of exactly zero, though the targets ask for
            them; None where there is none.
        operation: what cuts the graph most often.
    """

    memory: Memory | None = None
    operation: Operation | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Look for what cuts the graph, where a gradient is exactly zero at steps that the targets ask for."""
        try:
            short = collector.get(Memories).short
            memory = next((m for m in short if m.at_first == 0 and m.is_needed), None)
            if memory is None:
                return cls()
            forward = collector.get(Traced).operations.forward
        except Unavailable:
            return cls()
        found = [o for o in forward if o.phase == "model" and o.differentiable and cuts(o)]
        if not found:
            return cls()
        often = Counter((o.name, str(o.line)) for o in found).most_common(1)[0][0]
        return cls(memory=memory, operation=next(o for o in found if (o.name, str(o.line)) == often))
