"""The user's own training step with everything but the batch given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .parts import mapped
from .training_setup import Setup
from .user_step import parts_of


def bound_step(setup: Setup) -> Callable[[Any], Any] | None:
    """Return a function that takes a batch and makes one step of the setup's own; None where it has none.

    The batch is copied, since a step may write into it. A step that takes a scaler gets a fresh one of torch's, for the
    device of the first parameter.

    >>> def step(model, inputs, optimizer):
    ...     optimizer.zero_grad(); model(inputs).sum().backward(); optimizer.step()
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> setup = Setup(model=layer, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1), step=step)
    >>> before = layer.weight.item()
    >>> bound_step(setup)((torch.ones(1, 1), None))
    >>> round(before - layer.weight.item(), 4)
    0.1
    """
    if setup.step is None:
        return None
    step, names = setup.step, parts_of(setup.step)
    parts: dict[str, Any] = {"model": setup.model, "loss_fn": setup.loss_fn, "optimizer": setup.optimizer}
    if "scaler" in names.values():
        device = next(setup.model.parameters()).device.type
        parts["scaler"] = torch.amp.GradScaler(device)

    def of_a_batch(batch: Any) -> Any:
        batch = copied(batch)
        inputs, targets = batch if isinstance(batch, Sequence) else (batch, None)
        given = {**parts, "batch": batch, "inputs": inputs, "targets": targets}
        return step(**{name: given[part] for name, part in names.items()})

    return of_a_batch


def copied(batch: Any) -> Any:
    """Return a batch with its tensors in memory of their own.

    >>> x = torch.ones(2)
    >>> copied([x, "name"])[0].add_(1).tolist(), x.tolist()
    ([2.0, 2.0], [1.0, 1.0])
    """
    return mapped(lambda x: x.detach().clone().requires_grad_(x.requires_grad), batch)
