"""The optimizer and the parameters that it moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from .collector import Collector, Unavailable


@dataclass(frozen=True, kw_only=True)
class Optimized:
    """An optimizer as it is configured.

    Attributes:
        optimizer: the optimizer.
        names: of the model's parameters that it holds, with the group of each.
        strangers: parameters that it holds and the model does not.
    """

    optimizer: torch.optim.Optimizer
    names: dict[str, dict[str, Any]]
    strangers: int

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Join the optimizer's groups with the model's names."""
        optimizer, model = collector.setup.optimizer, collector.setup.model
        if optimizer is None:
            raise Unavailable("There is no optimizer, so none was looked at.")
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        names = {name: groups[id(p)] for name, p in model.named_parameters() if id(p) in groups}
        own = {id(p) for p in model.parameters()}
        return cls(optimizer=optimizer, names=names, strangers=len(set(groups) - own))

    def moves(self, name: str) -> bool:
        """Whether a parameter is held by a group whose rate is not zero, or will not stay so under a schedule."""
        group = self.names.get(name)
        return group is not None and any(float(group.get(key, 0.0)) != 0.0 for key in ("lr", "initial_lr"))
