"""The optimizer and the parameters that it moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from steadygrad.measurement.reached import Reached

from .collector import Collector, Unavailable


@dataclass(frozen=True, kw_only=True)
class Optimized:
    """The optimizers as they are configured: the setup's, and those that only its own step reaches.

    Attributes:
        optimizer: the setup's.
        names: of the model's parameters that one of them holds, with the group of each.
        strangers: parameters that the setup's holds and the model does not.
        held: identities of all parameters that one of them holds.
    """

    optimizer: torch.optim.Optimizer
    names: dict[str, dict[str, Any]]
    strangers: int
    held: frozenset[int] = frozenset()

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Join the optimizers' groups with the model's names."""
        optimizer, model = collector.setup.optimizer, collector.setup.model
        if optimizer is None:
            raise Unavailable("There is no optimizer, so none was looked at.")
        step = collector.setup.step
        others = [] if step is None else [o for o in Reached.by(step).optimizers if o is not optimizer]
        # A parameter that several hold is in the group of the setup's own.
        groups = {id(p): group for o in (*others, optimizer) for group in o.param_groups for p in group["params"]}
        names = {name: groups[id(p)] for name, p in model.named_parameters() if id(p) in groups}
        own, set_up = {id(p) for p in model.parameters()}, {id(p) for g in optimizer.param_groups for p in g["params"]}
        return cls(optimizer=optimizer, names=names, strangers=len(set_up - own), held=frozenset(groups))

    def moves(self, name: str) -> bool:
        """Whether a parameter is held by a group whose rate is not zero, or will not stay so under a schedule.

        An optimizer of the user's own may know no rate, or call it otherwise: it moves what it holds.
        """
        group = self.names.get(name)
        if group is None:
            return False
        rates = [float(group[key]) for key in ("lr", "initial_lr") if key in group]
        return not rates or any(rates)
