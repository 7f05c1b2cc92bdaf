"""Every operator of one forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from steadygrad.errors import in_short
from steadygrad.measurement import Operation, Operations, operations

from .clean_batches import clean_batches
from .collector import Collector, Unavailable
from .measured import Measured


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What the model and the loss ran on the first batch that is finite.

    Attributes:
        operations: in order, with what came back.
        batch_size: examples in the batch.
    """

    operations: Operations
    batch_size: int

    passes: ClassVar[float] = 2.0
    what: ClassVar[str] = "the trace of operators"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model once more, each operator watched."""
        collector.get(Measured)  # what the user's own code raises is told there
        (batch,), setup = clean_batches(collector, 1), collector.setup
        try:
            found = operations(setup.model, batch.inputs, batch.targets, setup.loss_fn)
        except Exception as error:
            # Some code refuses to be watched: compiled or fused by hand. What measures by hooks goes on alone.
            raise Unavailable(f"The operators could not be traced: {in_short(error)}.") from error
        return cls(operations=found, batch_size=batch.size)

    @property
    def model(self) -> list[Operation]:
        """Operators of the model, without those of the loss."""
        return [o for o in self.operations.forward if o.phase == "model"]
