"""A loss that has no gradient at all, and the operator that took it away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from steadygrad.diagnosis.graph_cut import graph_cut
from steadygrad.errors import in_short
from steadygrad.measurement import Operation
from steadygrad.measurement.operations import forward_operations

from .collector import Collector, Unavailable
from .loss_run import is_severed
from .sampled import Sampled
from .stepped import Stepped
from .traced import Traced


@dataclass(frozen=True, kw_only=True, eq=False)
class Severed:
    """Whether nothing that is trainable has a way to the loss.

    Attributes:
        trained: names of the trainable parameters; () where the loss has a gradient.
        operation: where most of them lost their way; None where the loss uses none of them.
    """

    trained: tuple[str, ...] = ()
    operation: Operation | None = None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run model and loss once, each operator watched, where the loss has no gradient."""
        if not is_severed(collector):
            return cls()
        setup, batch = collector.setup, collector.get(Sampled).first
        assert setup.loss_fn is not None
        try:
            forward = forward_operations(setup.model, batch.inputs, batch.targets, setup.loss_fn)
        except Exception as error:
            raise Unavailable(f"The operators could not be traced: {in_short(error)}.") from error
        trained = tuple(name for name, p in setup.model.named_parameters() if p.requires_grad)
        cuts = Counter(cut.index for name in trained if (cut := graph_cut(forward, name)) is not None)
        return cls(trained=trained, operation=forward[cuts.most_common(1)[0][0]] if cuts else None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """What traced operators and virtual steps show of gradients, for a rule that can do without.

    Attributes:
        traced: None where operators could not be traced, or where the loss has no gradient.
        stepped: None where no step could be taken.
    """

    traced: Traced | None
    stepped: Stepped | None

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Take what there is."""
        try:
            return cls(traced=collector.get(Traced), stepped=collector.get(Stepped))
        except Unavailable:
            return cls(traced=None, stepped=None)
