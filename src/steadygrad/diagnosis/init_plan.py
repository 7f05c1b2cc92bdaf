"""The plan of initialization for a training setup: what `check --fix-init` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from steadygrad.errors import SetupError
from steadygrad.init import Plan, plan
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Setup, first_batch

from .data_position import data_position_kept


def init_plan(setup: Setup | Mapping[str, Any] | nn.Module) -> Plan:
    """Return the plan "critical" of a setup's model for its first batch, targets included; nothing is changed.

    Args:
        setup: with data.

    Raises:
        SetupError: the setup has no data, or cannot be used.
        TypeError: a layer of the model has no rule.

    >>> import torch
    >>> data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    >>> init_plan({"model": nn.Linear(8, 4), "data": data, "loss_fn": nn.CrossEntropyLoss()})["bias"].reason
    'class priors of the sample'
    """
    made = Setup.of(setup)
    with untouched(made.model), data_position_kept(made.data):
        batch = first_batch(made)
        if batch is None:
            raise SetupError("`setup` must have data to plan an initialization for, got none.")
        return plan(made.model, batch.inputs, batch.targets, loss_fn=made.loss_fn)
