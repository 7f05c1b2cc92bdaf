"""A block after which a model and the random number generators are as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from .kept import attributes_kept
from .parts import parts_of


@contextmanager
def untouched(*modules: nn.Module) -> Iterator[None]:
    """Run a block and put back training flags, buffers, `.grad`s, what requires a gradient, structure, and RNG states.

    Buffers are put back by value and by identity, also where the block replaced one; so are modules and plain
    attributes that a forward pass added, removed or exchanged. Generators are Python's, NumPy's, and torch's on the CPU
    and on every initialized accelerator. It all happens when the block raises, too.

    >>> norm = nn.BatchNorm1d(2)
    >>> with untouched(norm):
    ...     _ = norm.eval()(torch.randn(4, 2)), norm.running_mean.fill_(9.0)
    >>> norm.training, norm.running_mean.tolist()
    (True, [0.0, 0.0])
    """
    with ExitStack() as stack:
        stack.enter_context(_generators())
        stack.enter_context(_parts(list(dict.fromkeys(part for module in modules for part in parts_of(module)))))
        yield


@contextmanager
def _generators() -> Iterator[None]:
    accelerators = _initialized_accelerators()
    cpu, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    states = [(backend, i, backend.get_rng_state(i)) for backend in accelerators for i in range(backend.device_count())]
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        random.setstate(python)
        if not _are_equal(np.random.get_state(), numpy):  # noqa: NPY002 (setting takes twice as long as getting)
            np.random.set_state(numpy)  # noqa: NPY002
        for backend, index, state in states:
            backend.set_rng_state(state, index)


def _are_equal(state: Any, other: Any) -> bool:
    """Of two states of NumPy's old generator, whether they are known to be the same."""
    if not (isinstance(state, tuple) and isinstance(other, tuple)):
        return False
    return state[2:] == other[2:] and state[0] == other[0] and state[1].tobytes() == other[1].tobytes()


def _initialized_accelerators() -> list[Any]:
    """A device that nothing has used yet has no state to keep, and asking for it would start it."""
    backends: list[Any] = [torch.cuda, torch.xpu]
    return [backend for backend in backends if backend.is_available() and backend.is_initialized()]


@contextmanager
def _parts(parts: list[nn.Module]) -> Iterator[None]:
    flags = [(part, part.training) for part in parts]
    buffers = [
        (part, name, buffer, None if buffer is None else buffer.detach().clone())
        for part in parts
        for name, buffer in part._buffers.items()
    ]
    held = [p for part in parts for p in part._parameters.values() if p is not None]
    parameters = [(p, p.grad, p.requires_grad) for p in held]
    # A scripted module keeps its parts in C++: it has no attributes that Python could put back.
    holders = [part for part in parts if not isinstance(part, torch.jit.ScriptModule)]
    with attributes_kept(*holders):
        try:
            yield
        finally:
            for part, training in flags:
                if part.training is not training:
                    part.training = training
            for part, name, buffer, value in buffers:
                _put_back(part, name, buffer, value)
            for parameter, grad, requires_grad in parameters:
                if parameter.requires_grad is not requires_grad:
                    parameter.requires_grad_(requires_grad)
                if parameter.grad is not grad:
                    parameter.grad = grad


@torch.no_grad()
def _put_back(part: nn.Module, name: str, buffer: torch.Tensor | None, value: torch.Tensor | None) -> None:
    if buffer is not None and value is not None:
        buffer.copy_(value)
    part._buffers[name] = buffer
