"""One measured forward and backward, and where the trunk of the network begins and ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from steadygrad.diagnosis.trainable_depth import rounding
from steadygrad.fans import weight_fans
from steadygrad.measurement import Call, Observation, observe
from steadygrad.profile import LayerSignal

from .collector import Collector, Unavailable
from .loss_run import is_severed
from .scanned import Scanned

Row = tuple[LayerSignal, Call]

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def has_unknown_layout(module: nn.Module) -> bool:
    """Return whether a module has parameters of its own, and no rule says how it uses them.

    >>> has_unknown_layout(nn.Linear(2, 2))
    False
    """
    try:
        weight_fans(module)
    except TypeError:
        return True
    return False


def has_matrix(module: nn.Module) -> bool:
    """Return whether a module of unknown layout has a parameter with two axes longer than one, as what sums has."""
    own = module.parameters(recurse=False)
    return has_unknown_layout(module) and any(is_matrix(p) for p in own)


def is_matrix(p: torch.Tensor) -> bool:
    """Return whether a tensor has two axes longer than one.

    >>> is_matrix(torch.zeros(1, 3)), is_matrix(torch.zeros(2, 3))
    (False, True)
    """
    return sum(n > 1 for n in p.shape) > 1


def _sums(row: Row) -> bool:
    layer, call = row
    return layer.fan_in is not None or has_matrix(call.module)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one batch did to the model.

    Attributes:
        observation: profile, calls, the first number that is not finite.
    """

    observation: Observation

    passes: ClassVar[float] = 1.5
    what: ClassVar[str] = "the measured pass"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model on the first batch that is finite."""
        batch, setup = collector.get(Scanned).clean, collector.setup
        if batch is None:
            raise Unavailable("No batch is free of NaN and infinity, so nothing was measured.")
        if is_severed(collector):
            raise Unavailable("The loss has no gradient, so no pass was measured and no step tried.")
        return cls(observation=observe(setup.model, batch.inputs, batch.targets, setup.loss_fn))

    @property
    def rows(self) -> list[Row]:
        """Rows of the profile, each with its call."""
        return list(zip(self.observation.profile.layers, self.observation.calls, strict=True))

    @property
    def weighted(self) -> list[Row]:
        """Rows of layers with a weight that sums: linear, convolution and their kin, and matrices of the user's own."""
        return [row for row in self.rows if _sums(row)]

    @property
    def head(self) -> Row | None:
        """The last layer with a weight: what comes before it is the trunk."""
        return self.weighted[-1] if self.weighted else None

    @property
    def batch_size(self) -> int:
        """Examples that were measured."""
        return self.observation.profile.batch_size

    def squared_gradient(self, row: Row) -> float:
        """Squared norm of the gradient of one example with respect to a row's output; NaN where none came."""
        layer, call = row
        return layer.grad_q * call.entries

    def anchors(self) -> list[Row]:
        """Rows of the trunk where a gradient's size says something, in the order of execution.

        A layer right before a norm is scale-free: its gradient is as small as its weights are large. The norm's own
        output stands in for it. Of a module that is called again and again, as a recurrent cell, the last call counts:
        the others are the same layer at other times.
        """
        rows = self.rows
        last_call = {call.module: i for i, (_, call) in enumerate(rows)}
        before_norm = {i for _, call in rows if isinstance(call.module, NORMS) for i in call.sources}
        last = next((i for i in reversed(range(len(rows))) if _sums(rows[i])), 0)
        return [
            row
            for i, row in enumerate(rows[:last])
            if last_call[row[1].module] == i
            and ((_sums(row) and i not in before_norm) or isinstance(row[1].module, NORMS))
        ]

    def noise(self) -> float:
        """What rounding makes of the signal at the head's entrance: nothing below it was measured."""
        if self.head is None:
            return 0.0
        call = self.head[1]
        kinds = {p.dtype for p in call.module.parameters() if p.is_floating_point()}
        return max((rounding(call.entering_q, torch.finfo(kind).eps) for kind in kinds), default=0.0)

    def distances(self) -> tuple[float, float] | None:
        """1 - c of the input and at the head's entrance; None where either is not known."""
        if self.head is None:
            return None
        call, seen = self.head[1], self.observation
        if not (call.entering_q > 0 and seen.input_q > 0) or math.isnan(call.entering_signal):
            return None
        return seen.input_signal / seen.input_q, call.entering_signal / call.entering_q
