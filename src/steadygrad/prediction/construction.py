"""The model, built under the interpreter or before it, and its parameters as fills."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy

from steadygrad.errors import SetupError, UserCodeError, not_allowed

from .batch import AT_ONCE
from .demands import UnknownNumber
from .interpreter import Interpreter
from .outside import outside
from .users_code import users_code
from .values import Array, Concrete, Fill, Unknown

FEW = 32


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
    model = _lazy_copy(given) if isinstance(given, nn.Module) else _made(given, run)
    parameters = dict(model.named_parameters())
    stand_ins = {id(p): _stand_in(p, run) for p in parameters.values() if not isinstance(p, FakeTensor)}
    real = [buffer for buffer in model.buffers() if not isinstance(buffer, FakeTensor)]
    stand_ins |= {id(buffer): run.fake_of(_plain(buffer)) for buffer in real}
    with outside(), torch.no_grad():
        for parameter in parameters.values():
            value = run.value(parameter) if isinstance(parameter, FakeTensor) and not is_lazy(parameter) else None
            if isinstance(value, Concrete):
                run.memory.put(parameter, measured_fill(value.tensor, run.new_fill()))
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


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    with outside():
        return tensor.detach()


def _stand_in(parameter: torch.Tensor, run: Interpreter) -> torch.Tensor:
    plain = _plain(parameter)
    with outside():
        fill = measured_fill(plain, run.new_fill())
    tensor = run.fake.from_tensor(plain).requires_grad_(parameter.requires_grad)
    run.memory.put(tensor, fill)
    return tensor


def measured_fill(weight: torch.Tensor, source: int) -> Fill | Unknown:
    """The distribution of a weight that is there; its mean counts where it is five standard errors from zero.

    Of few entries the standard error itself is too uncertain for that: their mean counts where they are all alike.
    """
    if not weight.numel() or weight.device.type != "cpu":
        return Unknown("a parameter that is not on the CPU")
    if not all(bool(part.isfinite().all()) for part in weight.reshape(-1).split(AT_ONCE)):
        return Unknown("weights that are not finite")
    mean, count = _mean(weight, lambda x: x), weight.numel()
    variance = _mean(weight, lambda x: (x - mean) ** 2)
    if variance > 0 and (count < FEW or abs(mean) <= 5 * (variance / count) ** 0.5):
        mean, variance = 0.0, variance + mean**2
    fourth = _mean(weight, lambda x: ((x - mean) ** 2) ** 2)
    return Fill(mean, variance, source, fourth / variance**2 if variance > 0 else 3.0, "approximate")


def _mean(weight: torch.Tensor, of: Callable[[Array], Array]) -> float:
    """Return the mean of a function of all entries, in double precision and a part at a time, for want of memory."""
    parts = weight.reshape(-1).split(AT_ONCE)
    return math.fsum(float(of(part.double().numpy()).sum()) for part in parts) / weight.numel()
