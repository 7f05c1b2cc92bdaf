"""One forward and backward of a model on a batch, looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from steadygrad.errors import SteadygradError, UserCodeError, not_allowed
from steadygrad.profile import Profile
from steadygrad.setup import raised

from .as_written import as_written
from .calls import Calls, first_tensor
from .observation import Observation
from .parts import parts_of, trained_of
from .readout import Read, read, read_profile
from .scalar_loss import Loss, outputs_of, scalar_loss, unit_gradients
from .untouched import untouched

T = TypeVar("T")

# glibc hands back to the system what a step frees, and the next step faults it in again, page by page, unless a block
# of this size, which nothing writes to, has been freed before: half of the largest that it takes as a measure.
_GIVEN_BACK = 2**24


def observe(model: nn.Module, inputs: Any, targets: Any = None, loss_fn: Loss | None = None) -> Observation:
    """Run one forward and backward with hooks that leave nothing behind, and read the statistics once at the end.

    See `measure` for the arguments and what is raised.

    >>> observe(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.ones(4, 2)).calls[1].sources
    (0,)
    """
    return _looked_at(read, model, inputs, targets, loss_fn)


def profile_of(model: nn.Module, inputs: Any, targets: Any, loss_fn: Loss | None) -> Profile:
    """Return the profile alone, which takes less time than the whole observation.

    >>> profile_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.ones(4, 2), None, None).batch_size
    4
    """
    return _looked_at(read_profile, model, inputs, targets, loss_fn)


def _looked_at(reading: Read[T], model: nn.Module, inputs: Any, targets: Any, loss_fn: Loss | None) -> T:
    batch = first_tensor(inputs)
    if batch is None or batch.dim() == 0 or len(batch) == 0:
        got = type(inputs).__name__ if batch is None else tuple(batch.shape)
        raise ValueError(not_allowed("inputs", "must hold a tensor [examples, ...] with at least one example", got))
    parts = parts_of(model)
    calls, parameters = Calls(parts=parts, batch_size=len(batch)), trained_of(parts)
    modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    with untouched(*modules), as_written(), torch.enable_grad():
        loss = _loss(calls, model, inputs, targets, loss_fn)
        gradients = _gradients(loss, parameters, calls)
        return reading(calls, batch, loss if loss_fn else None, gradients)


def _loss(calls: Calls, model: nn.Module, inputs: Any, targets: Any, loss_fn: Loss | None) -> torch.Tensor:
    with calls.watching(), _said(lambda error: _place(error, model, calls.parts)):
        output = outputs_of(model, inputs)
    if loss_fn is None:
        return unit_gradients(output)
    with _said(lambda _: "the loss"):
        loss = loss_fn(output, targets)
    return scalar_loss(loss)


def _gradients(loss: torch.Tensor, parameters: Mapping[str, torch.Tensor], calls: Calls) -> dict[str, torch.Tensor]:
    """By name; `.grad` is never written, so that no hook on it runs."""
    with _said(lambda _: "the backward pass"):
        np.empty(_GIVEN_BACK, np.uint8)
        inputs: list[Any] = [*parameters.values(), *calls.edges]
        found = torch.autograd.grad(loss, inputs, allow_unused=True)
    calls.came(found[len(parameters) :])
    return {name: g for name, g in zip(parameters, found, strict=False) if g is not None}


def _place(error: Exception, model: nn.Module, parts: Mapping[nn.Module, str]) -> str:
    """The innermost of the model's modules that was running."""
    running = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    module = next((m for m in reversed(running) if isinstance(m, nn.Module) and m in parts), model)
    path = parts[module]
    return f"module {path!r} ({type(module).__name__})" if path else f"the model ({type(module).__name__})"


@contextmanager
def _said(where: Callable[[Exception], str]) -> Iterator[None]:
    """Say of an error in the user's code where it came from."""
    try:
        yield
    except (SteadygradError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UserCodeError(f"{where(error)} raised {raised(error)}") from error
