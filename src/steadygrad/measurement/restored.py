"""A block that may train: afterwards parameters, optimizer and everything else are as they were, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .kept import attributes_kept
from .untouched import untouched


@contextmanager
def restored(
    modules: Iterable[nn.Module], optimizer: torch.optim.Optimizer | None = None, others: Iterable[Any] = ()
) -> Iterator[None]:
    """Run a block that trains, and put everything back that a step changes.

    Parameters and the optimizer's state keep the memory that they have and get their values back; state that did not
    exist is absent again. Gradients are put aside by identity and not written to: the block finds them None.

    Args:
        modules: the model, and a loss that is a module.
        optimizer: with its state and its settings.
        others: schedulers and the like, put back by their attributes.

    >>> layer = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    >>> before = layer.weight.item()
    >>> with restored([layer], optimizer):
    ...     layer(torch.ones(1, 1)).sum().backward(); optimizer.step()
    >>> layer.weight.item() == before, layer.weight.grad, len(optimizer.state)
    (True, None, 0)
    """
    modules = list(modules)
    tensors = _tensors(modules, optimizer)
    with ExitStack() as stack:
        stack.enter_context(untouched(*modules))
        # A parameter that the model does not hold may be in the optimizer all the same.
        gradients = [(p, p.grad) for p in tensors]
        stack.callback(_put_back, gradients)
        stack.callback(values_back(tensors))
        if optimizer is not None:
            _enter_optimizer(stack, optimizer)
        stack.enter_context(attributes_kept(*others))
        for parameter in tensors:
            parameter.grad = None
        yield


def _put_back(gradients: Iterable[tuple[torch.Tensor, torch.Tensor | None]]) -> None:
    for parameter, gradient in gradients:
        parameter.grad = gradient


def _tensors(modules: list[nn.Module], optimizer: torch.optim.Optimizer | None) -> list[torch.Tensor]:
    held = [p for module in modules for p in module.parameters()]
    stepped = [p for group in optimizer.param_groups for p in group["params"]] if optimizer else []
    return list({id(p): p for p in [*held, *stepped]}.values())


def values_back(tensors: Iterable[torch.Tensor]) -> Callable[[], None]:
    """Copy tensors, and return what puts their values and their memory back.

    >>> x = torch.ones(2)
    >>> back = values_back([x])
    >>> _ = x.mul_(3); back(); x.tolist()
    [1.0, 1.0]
    """
    kept = [(t, t.data, t.detach().clone()) for t in tensors]

    def restore() -> None:
        for tensor, data, value in kept:
            data.copy_(value)
            if tensor.data_ptr() != data.data_ptr() or tensor.shape != data.shape or tensor.dtype != data.dtype:
                tensor.data = data  # `p.data = ...` gave it other memory

    return restore


def _enter_optimizer(stack: ExitStack, optimizer: torch.optim.Optimizer) -> None:
    entries: list[dict[Any, Any]] = [state for state in optimizer.state.values() if isinstance(state, dict)]
    settings = list(optimizer.param_groups)
    tensors = [v for d in [*entries, *settings] for v in d.values() if isinstance(v, torch.Tensor)]
    stack.enter_context(attributes_kept(optimizer))
    stack.enter_context(attributes_kept(*(_Entries(d) for d in [*entries, *settings])))
    stack.callback(values_back(tensors))
    for inner in inner_optimizers(optimizer):
        _enter_optimizer(stack, inner)


def inner_optimizers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Return the optimizers that one hands its steps to: those among its attributes, or in their containers.

    >>> first, second = (torch.optim.SGD(nn.Linear(1, 1).parameters()) for _ in range(2))
    >>> first.others = [second]
    >>> inner_optimizers(first) == [second]
    True
    """
    values = [v for name, v in vars(optimizer).items() if name not in ("state", "param_groups")]
    within = [
        x for v in values if isinstance(v, dict | list | tuple) for x in (v.values() if isinstance(v, dict) else v)
    ]
    found = [x for x in (*values, *within) if isinstance(x, torch.optim.Optimizer) and x is not optimizer]
    return list({id(x): x for x in found}.values())


class _Entries:
    """A dictionary looked at as the attributes of an object."""

    def __init__(self, entries: dict[Any, Any]) -> None:
        self.entries = entries
