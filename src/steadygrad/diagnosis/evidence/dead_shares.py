"""Which share of an activation's units gives nothing on any example, for modules and for functions alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from steadygrad.measurement.slopes import Pointwise
from steadygrad.measurement.unit_health import unit_health

from .collector import Collector, Unavailable
from .flow import Flow, Stage
from .measured import Measured


@dataclass(frozen=True, kw_only=True)
class DeadShare:
    """One call of an activation.

    Attributes:
        path: the module's path, or that of the module whose code applies the function.
        name: what is applied, "" for a module.
        line: the line that does so; None for a module.
        fraction: share of units that are zero, with zero derivative, on every example.
        units: how many there are.
        examples: how many were seen.
    """

    path: str
    name: str
    line: str | None
    fraction: float
    units: int
    examples: int


@dataclass(frozen=True, kw_only=True)
class DeadShares:
    """Every activation, modules first.

    Attributes:
        shares: a record a call.
    """

    shares: tuple[DeadShare, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Take modules from the measured rows, and functions from the operators that ran."""
        measured = collector.get(Measured)
        modules = [
            DeadShare(
                path=layer.path,
                name="",
                line=None,
                fraction=layer.dead_fraction,
                units=call.units,
                examples=measured.batch_size,
            )
            for layer, call in measured.rows
            if call.units
        ]
        return cls(shares=(*modules, *_functions(collector)))


def _functions(collector: Collector) -> list[DeadShare]:
    """Functions that a layer's output goes into; where operators cannot be traced, none."""
    try:
        flow = collector.get(Flow)
    except Unavailable:
        return []
    return [found for stage in flow.stages if stage.module is None and (found := _function(flow, stage)) is not None]


# They change each number alone, by a constant or to its opposite.
_ALONE = ("neg", "mul", "div", "add", "sub", "rsub")


def _layer_before(flow: Flow, stage: Stage) -> Stage | None:
    """The layer that sums whose output comes here through what acts on each number alone."""
    while len(stage.sources) == 1:
        stage = flow.stages[stage.sources[0]]
        if stage.fan_in is not None:
            return stage
        pointwise = stage.function is not None or stage.flat is not None or stage.operation.name in _ALONE
        if not pointwise or stage.operation.parameters:
            return None
    return None


def _function(flow: Flow, stage: Stage) -> DeadShare | None:
    x, function = stage.operation.given, stage.function
    made = _layer_before(flow, stage)
    if x is None or function is None or made is None:
        return None
    convolved = made.operation.name == "convolution"
    health = unit_health(Pointwise(function), x, 1 if convolved and x.dim() > 2 else -1)
    if health is None:
        return None
    line = stage.operation.line
    return DeadShare(
        path=stage.path,
        name=stage.name,
        line=str(line) if line else None,
        fraction=float(health.dead),
        units=health.units,
        examples=len(x),
    )
