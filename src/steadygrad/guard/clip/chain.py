"""Several policies, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steadygrad.errors import not_allowed

from .gradients import Gradients
from .policy import Policy, check_policy


class Chain(Policy):
    """Apply policies in order, each to what the one before left.

    Its own statistics count a step as clipped where the norm after all of them is smaller than before; each policy
    keeps its own as well.

    Args:
        policies: at least one.

    Raises:
        ValueError: no policy is given.
        TypeError: something else is.

    >>> from steadygrad.guard.clip import ByNorm, ByValue
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([30.0, 4.0])
    >>> chain = Chain(ByValue(4.0), ByNorm(1.0))
    >>> _ = chain(weight)
    >>> weight.grad
    tensor([0.7071, 0.7071])
    """

    def __init__(self, *policies: Policy) -> None:
        super().__init__()
        if not policies:
            raise ValueError(not_allowed("policies", "must hold at least one policy", policies))
        for policy in policies:
            check_policy("policies", policy)
        self.policies = policies
        self.p = policies[0].p

    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Apply every policy in place."""
        before = gradients.total(self.p)
        for policy in self.policies:
            policy.clip_(gradients, accepted)
        after = gradients.total(self.p)
        self._tally.add(before, torch.where(before > 0, after / before, 1.0), accepted)
        return before

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all policies."""
        return {**super().state_dict(), "policies": [policy.state_dict() for policy in self.policies]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same policies."""
        super().load_state_dict(state)
        for policy, part in zip(self.policies, state["policies"], strict=True):
            policy.load_state_dict(part)
