"""The model, built under the interpreter or before it, and its parameters as fills."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy

from steadygrad.errors import SetupError, UserCodeError, not_allowed

from .demands import UnknownNumber
from .interpreter import Interpreter
from .measured_weights import measured_fill
from .other_generators import drawn_from, states
from .outside import outside
from .users_code import users_code
from .values import Concrete, Fill, Unknown
from .writes import settle


@dataclass(frozen=True)
class Built:
    """A model, and by identity the fake tensors that stand for those of its parameters and buffers that are real."""

    model: nn.Module
    stand_ins: Mapping[int, torch.Tensor]

    @contextlib.contextmanager
    def standing_in(self) -> Iterator[None]:
        """Put the fake tensors in their places, shared ones in each; the model is as it was at the end."""
        places: list[Any] = (
            [held for m in self.model.modules() for held in (m._parameters, m._buffers)] if self.stand_ins else []
        )
        places = [held for held in places if isinstance(held, dict)]  # a scripted module's are in C++, and stay
        before = [dict(held) for held in places]
        try:
            for held in places:
                held.update({name: self.stand_ins[id(t)] for name, t in held.items() if id(t) in self.stand_ins})
            yield
        finally:
            for held, was in zip(places, before, strict=True):
                held.clear()
                held.update(was)

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The parameters as they are used; those that were shaped on the way included."""
        return {name: self.stand_ins.get(id(p), p) for name, p in self.model.named_parameters()}


def constructed(given: Any, run: Interpreter) -> Built:
    """Return a model, or what a factory makes, with the parameters' fills known to the interpreter.

    Raises:
        UserCodeError: the factory raised.
        ValueError: it is neither a module nor a callable without arguments that makes one.
    """
    before = states()
    model = _lazy_copy(given) if isinstance(given, nn.Module) else _made(given, run)
    generators = drawn_from(before, states())
    parameters = dict(model.named_parameters())
    stand_ins = {id(p): _stand_in(p, run) for p in parameters.values() if not isinstance(p, FakeTensor)}
    real = [buffer for buffer in model.buffers() if not isinstance(buffer, FakeTensor)]
    stand_ins |= {id(buffer): run.fake_of(_plain(buffer)) for buffer in real}
    with outside(), torch.no_grad():
        for parameter in parameters.values():
            value = run.value(parameter) if isinstance(parameter, FakeTensor) and not is_lazy(parameter) else None
            if isinstance(value, Concrete):
                generators = [] if not value.drawn else generators  # they made weights, which are there to be seen
                run.memory.put(parameter, _measured(value.tensor, run))
    for name in generators:
        run.chance = True
        run.note(f"the factory draws from {name}: what that decides is predicted as one call went")
    return Built(model, stand_ins)


def _lazy_copy(model: nn.Module) -> nn.Module:
    """Where a model's shapes are still open it is copied: the user's own stays as it is."""
    if not any(is_lazy(p) for p in model.parameters()):
        return model
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {}
    for t in filter(is_lazy, tensors):
        kind: Any = type(t)
        memo[id(t)] = kind(t.requires_grad, device=t.device, dtype=t.dtype)
    with outside():
        return copy.deepcopy(model, memo)


def _made(factory: Any, run: Interpreter) -> nn.Module:
    made = built(factory, run)
    if not isinstance(made, nn.Module):
        raise ValueError(not_allowed("model_or_factory", "must make a torch.nn.Module", type(made).__name__))
    for buffer in made.buffers():
        settle(run, buffer)
    return made


def built(factory: Any, run: Interpreter) -> Any:
    """Return what a factory makes under the interpreter.

    Raises:
        UserCodeError: it raised.
        ValueError: it is no callable.
        SetupError: it needs arguments.
    """
    if not callable(factory):
        raise ValueError(not_allowed("model_or_factory", "must be a module or a callable that makes one", factory))
    if needed := required_arguments(factory):
        raise SetupError(f"`model_or_factory` must be callable without arguments, got one that needs {needed}.")
    run.constructing = True
    try:
        with users_code(lambda: "the factory"):
            return factory()
    except UnknownNumber as error:
        raise UserCodeError(f"the factory cannot be followed: {error}") from error
    finally:
        run.constructing = False


def required_arguments(function: Callable[..., Any]) -> str:
    """Return the names of the arguments that a callable cannot do without, empty where there are none.

    >>> required_arguments(lambda width, depth=3: None)
    '`width`'
    """
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not say
        return ""
    return ", ".join(f"`{p.name}`" for p in parameters if p.default is p.empty and p.kind not in optional)


def _measured(numbers: torch.Tensor, run: Interpreter) -> Fill | Unknown:
    """The distribution of numbers that are there, which are what is computed with where numbers are asked for."""
    fill = measured_fill(numbers, run.new_fill())
    run.drawn.know(fill, numbers)
    return fill


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    with outside():
        return tensor.detach()


def _stand_in(parameter: torch.Tensor, run: Interpreter) -> torch.Tensor:
    plain = _plain(parameter)
    with outside():
        fill = _measured(plain, run)
    tensor = run.fake.from_tensor(plain).requires_grad_(parameter.requires_grad)
    run.memory.put(tensor, fill)
    return tensor
