"""Who feeds whom: module calls, and operators between them, as stages that hand tensors on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _MaxPoolNd

from steadygrad.fans import fans
from steadygrad.measurement import LeafCall, Operation, Operations
from steadygrad.measurement.slopes import FlatShare

from .collector import Collector
from .measured import NORMS, has_unknown_layout
from .traced import Traced

# They hand on second moments, or close to it; what follows them is what follows the stage before.
_PASSED_THROUGH = (_DropoutNd, nn.Flatten, nn.Unflatten, nn.Identity, _MaxPoolNd)

# Operators that hand on what they are given, in another shape.
TRANSPARENT = frozenset(
    (
        *("alias", "clone", "contiguous", "expand", "permute", "reshape", "_reshape_alias", "squeeze", "t", "_to_copy"),
        *("transpose", "unsqueeze", "_unsafe_view", "view", "native_dropout", "max_pool2d_with_indices", "flatten"),
    )
)

_NORM_OPERATORS = frozenset(
    (
        *("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit"),
        *("_fused_rms_norm", "cudnn_batch_norm", "_batch_norm_with_update", "miopen_batch_norm"),
    )
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A call of a module without children, or an operator outside of such.

    Attributes:
        path: the module's, or that of the module whose code runs the operator.
        module: None for an operator.
        operation: the last operator of the stage.
        sources: stages that it takes tensors from.
        fan_in: of a layer with a weight, or of a product that the user's own code takes with a parameter; None for
            others.
        weight: name of that parameter, "" for a layer whose layout is known.
        unit_axis: axis of it that units lie along, where that is known.
        flat: for a pointwise activation, its share of saturated entries.
        function: what a pointwise operator does.
    """

    path: str
    module: nn.Module | None
    operation: Operation
    sources: tuple[int, ...]
    fan_in: int | None
    weight: str
    unit_axis: int | None
    flat: FlatShare | None
    function: Callable[[torch.Tensor], torch.Tensor] | None

    @property
    def is_norm(self) -> bool:
        """Whether it divides by a deviation."""
        return isinstance(self.module, NORMS) or (self.module is None and self.operation.name in _NORM_OPERATORS)

    @property
    def name(self) -> str:
        """The module's class, or the operator."""
        return type(self.module).__name__ if self.module is not None else self.operation.name


@dataclass(frozen=True, kw_only=True, eq=False)
class Flow:
    """The model as it ran.

    Attributes:
        stages: in the order of execution.
        outputs: stages whose tensors the model returned.
    """

    stages: tuple[Stage, ...]
    outputs: tuple[int, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Join the operators of each call."""
        run = collector.get(Traced).operations
        builder = _Builder(run)
        for operation in run.forward:
            if operation.phase == "model":
                builder.add(operation)
        outputs = {stage for index in run.outputs for stage in builder.resolved(index)}
        return cls(stages=tuple(builder.stages()), outputs=tuple(sorted(outputs)))

    def takers(self, i: int) -> list[int]:
        """Stages that take what a stage made; autograd's own detached copies aside."""
        return [j for j, stage in enumerate(self.stages) if i in stage.sources and stage.name != "detach"]


class _Builder:
    def __init__(self, run: Operations) -> None:
        self._run = run
        self._operations: list[list[Operation]] = []
        self._sources: list[list[int]] = []
        self._by_call: dict[int, int] = {}
        self._resolved: dict[int, tuple[int, ...]] = {}

    def add(self, operation: Operation) -> None:
        """Let an operator join its call's stage, hand on what it takes, or be a stage of its own."""
        sources = [stage for index in operation.sources for stage in self.resolved(index)]
        call = self._call(operation)
        if _is_bias(operation, sources):
            self._resolved[operation.index] = tuple(dict.fromkeys(sources))
            return
        if isinstance(call.module, _PASSED_THROUGH) if call else operation.name in TRANSPARENT:
            self._resolved[operation.index] = tuple(dict.fromkeys(sources))
            return
        if call is None or operation.call is None:
            stage = self._new()
        else:
            stage = self._by_call[operation.call] if operation.call in self._by_call else self._new(operation.call)
        self._operations[stage].append(operation)
        self._sources[stage] += [source for source in sources if source != stage]
        self._resolved[operation.index] = (stage,)

    def _call(self, operation: Operation) -> LeafCall | None:
        """The call that an operator belongs to; a module of the user's own with parameters is as many layers as it has.

        What torch's own layers do with their weights is known, so each is one stage.
        """
        call = None if operation.call is None else self._run.calls[operation.call]
        return None if call is not None and has_unknown_layout(call.module) else call

    def resolved(self, index: int) -> tuple[int, ...]:
        """Stages that made what an operator hands on."""
        return self._resolved.get(index, ())

    def _new(self, call: int | None = None) -> int:
        self._operations.append([])
        self._sources.append([])
        if call is not None:
            self._by_call[call] = len(self._operations) - 1
        return len(self._operations) - 1

    def stages(self) -> list[Stage]:
        return [self._stage(o, s) for o, s in zip(self._operations, self._sources, strict=True)]

    def _stage(self, operations: list[Operation], sources: list[int]) -> Stage:
        last = operations[-1]
        call = self._call(last)
        factor = None if call else last.factor
        return Stage(
            path=last.path,
            module=call.module if call else None,
            operation=last,
            sources=tuple(dict.fromkeys(sources)),
            fan_in=_fan_in(call.module) if call else factor.terms if factor else None,
            weight=factor.name if factor else "",
            unit_axis=factor.unit_axis if factor else None,
            flat=call.flat if call else last.flat,
            function=None if call else last.function,
        )


def _is_bias(operation: Operation, sources: list[int]) -> bool:
    """Whether a parameter is added to one tensor, as `x @ w + b` does: part of the product before it."""
    return operation.name == "add" and len(operation.parameters) == 1 and len(set(sources)) == 1


def _fan_in(module: nn.Module) -> int | None:
    try:
        return fans(module).fan_in
    except TypeError:
        return None
