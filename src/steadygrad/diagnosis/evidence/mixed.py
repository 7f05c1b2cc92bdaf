"""Whether examples of a batch are told apart by the model, or taken together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from steadygrad.diagnosis.own_copies import OwnCopies
from steadygrad.measurement.mixing import Mixing, mixing
from steadygrad.setup import Batch, tensors_in

from .collector import Collector, Unavailable
from .loss_run import LossRun
from .sampled import Sampled


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What the outputs of some examples owe to the others.

    Attributes:
        mixing: None where it was not looked at.
        batches: batches that were drawn: of a single one, the others may be part of each example.
    """

    mixing: Mixing | None
    batches: int = 0

    passes: ClassVar[float] = 1.0
    what: ClassVar[str] = "whether examples are kept apart"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Exchange the others, where nothing says that examples lie along another axis or belong together."""
        try:
            run = collector.get(LossRun)
        except Unavailable:
            return cls(mixing=None)
        setup, sampled = collector.setup, collector.get(Sampled)
        batch, outputs = sampled.first, list(tensors_in(run.outputs).values())
        whole = [x for x in outputs if x.is_floating_point()]
        if any(not x.dim() or len(x) != batch.size for x in whole):
            return cls(mixing=None)
        if not _stacks_examples(setup.data) and _may_lie_along_another_axis(batch, whole):
            return cls(mixing=None)
        if any(_takes_batch_statistics(module) for module in setup.model.modules()):
            return cls(mixing=None)
        found = mixing(setup.model, batch.inputs, batch.size, [tuple(x.shape[1:]) for x in whole])
        return cls(mixing=found, batches=len(sampled.targets))


def _takes_batch_statistics(module: nn.Module) -> bool:
    """A norm without running statistics takes those of the batch, in evaluation too."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None


def _stacks_examples(data: Any) -> bool:
    """Whether examples are surely along the first axis: torch's own way to make a batch of single ones puts them there.

    >>> _stacks_examples(DataLoader([torch.zeros(2)], batch_size=1)), _stacks_examples([torch.zeros(2)])
    (True, False)
    """
    while isinstance(data, OwnCopies):
        data = data.dataset
    return isinstance(data, DataLoader) and data.batch_sampler is not None and data.collate_fn is default_collate


def _may_lie_along_another_axis(batch: Batch, outputs: list[torch.Tensor]) -> bool:
    """Whether inputs, targets and outputs have a second axis in common: sequences may lie along the first one."""
    targets = tensors_in(batch.targets, "targets").values()
    every = [*tensors_in(batch.inputs).values(), *targets, *outputs]
    return all(x.dim() > 1 for x in every) and len({int(x.shape[1]) for x in every}) == 1 and outputs[0].shape[1] > 1
