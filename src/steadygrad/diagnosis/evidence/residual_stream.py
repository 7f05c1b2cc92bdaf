"""Sums that add a branch to the stream that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from steadygrad.measurement import Operation

from .collector import Collector
from .flow import Flow


@dataclass(frozen=True, kw_only=True)
class ResidualStreams:
    """Each chain of residual sums, in the order of execution.

    Attributes:
        streams: the sums of each; every sum's stream is what the sum before it made.
    """

    streams: tuple[tuple[Operation, ...], ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Find the sums of which one operand comes of the other."""
        flow = collector.get(Flow)
        before: dict[int, frozenset[int]] = {}
        chains: dict[int, tuple[int, ...]] = {}
        for i, stage in enumerate(flow.stages):
            before[i] = frozenset(stage.sources).union(*(before[j] for j in stage.sources))
            carried = _carried(flow, i, before)
            if carried is not None:
                chains[i] = (*chains.get(_begun(flow, carried), ()), i)
        longest = [c for c in chains.values() if not any(c == d[: len(c)] and len(d) > len(c) for d in chains.values())]
        return cls(streams=tuple(tuple(flow.stages[i].operation for i in chain) for chain in longest))


def _begun(flow: Flow, i: int) -> int:
    """Back over activations that the stream itself passes, as in ReLU(x + f(x))."""
    while flow.stages[i].flat is not None and len(flow.stages[i].sources) == 1:
        i = flow.stages[i].sources[0]
    return i


def _carried(flow: Flow, i: int, before: dict[int, frozenset[int]]) -> int | None:
    """The operand of a sum that the other one was made of: the stream; None where it is no residual sum."""
    stage = flow.stages[i]
    if stage.operation.name != "add" or len(stage.sources) != 2:
        return None
    a, b = stage.sources
    return a if a in before[b] else b if b in before[a] else None
