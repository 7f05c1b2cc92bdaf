"""A copy in memory of everything that a training step changes, and the way back."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .buffers import Buffers


def cloned(tree: Any) -> Any:
    """Return a deep copy of nested containers whose tensors are cloned, on their device and without a graph.

    >>> cloned({"a": [torch.ones(1)], "b": None})
    {'a': [tensor([1.])], 'b': None}
    """
    match tree:
        case Tensor():
            return tree.detach().clone()
        case dict():
            return {key: cloned(value) for key, value in tree.items()}
        case list() | tuple():
            return type(tree)(cloned(value) for value in tree)
        case _:
            return copy.deepcopy(tree)


class OptimizerState:
    """The state and the settings of an optimizer, kept by parameter; what did not exist is removed again.

    Unlike `load_state_dict` it casts nothing, so that 32-bit statistics of 16-bit parameters come back bitwise.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> kept = OptimizerState(optimizer)
    >>> weight.grad = torch.ones(1); optimizer.step(); kept.restore_(); len(optimizer.state)
    0
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._state = {key: cloned(value) for key, value in optimizer.state.items()}
        self._groups = [_settings(group) for group in optimizer.param_groups]

    def restore_(self) -> None:
        """Put state and settings back."""
        self._optimizer.state.clear()
        self._optimizer.state.update({key: cloned(value) for key, value in self._state.items()})
        for group, settings in zip(self._optimizer.param_groups, self._groups, strict=True):
            group.update(cloned(settings))


class Snapshot:
    """Parameters, buffers, optimizer, scheduler, scaler, random states, and whatever else has a `state_dict`.

    Args:
        model: its parameters are copied, on their device.
        buffers: those of the model, as of the last accepted step.
        optimizer: of the model.
        others: schedulers, scalers and the like; None entries are passed over.

    >>> model = nn.Linear(1, 1)
    >>> snapshot = Snapshot(model, Buffers(model), torch.optim.SGD(model.parameters()), [])
    >>> before = model.weight.item(); _ = nn.init.zeros_(model.weight); snapshot.restore_()
    >>> model.weight.item() == before
    True
    """

    def __init__(
        self, model: nn.Module, buffers: Buffers, optimizer: torch.optim.Optimizer, others: Iterable[Any]
    ) -> None:
        self._parameters = list(model.parameters())
        self._values = [p.detach().clone() for p in self._parameters]
        self._buffers, self._buffer_values = buffers, cloned(buffers.kept())
        self._optimizer = OptimizerState(optimizer)
        self._others = [(other, cloned(other.state_dict())) for other in others if other is not None]
        self._random = _random_states()

    def restore_(self) -> None:
        """Put everything back, bit for bit."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._values, strict=True):
                parameter.copy_(value)
        self._buffers.restore_(self._buffer_values)
        self._optimizer.restore_()
        for other, state in self._others:
            other.load_state_dict(cloned(state))
        _restore_random(self._random)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: cloned(value) for key, value in group.items() if key != "params"}


def _random_states() -> dict[str, Any]:
    states = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_random(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
