"""The user's own training step: which of its parameters stands for what."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from steadygrad.errors import SetupError, unknown_name

# The words that training loops have for the parts of a setup; the first of each is the one that errors name.
NAMES = {
    "model": ("model", "net", "network"),
    "batch": ("batch",),
    "inputs": ("inputs", "x", "images"),
    "targets": ("targets", "y", "labels"),
    "loss_fn": ("loss_fn", "criterion"),
    "optimizer": ("optimizer", "opt", "optim"),
    "scaler": ("scaler", "grad_scaler"),
}
_PART = {name: part for part, names in NAMES.items() for name in names}

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parts_of(step: object) -> dict[str, str]:
    """Return what a step takes: by the name of each of its parameters, the part of the setup that it stands for.

    A parameter with a default is given its part where its name is known, and left to its default elsewhere.

    Raises:
        SetupError: it is no callable, a parameter without a default is not known or can be given by position alone, or
            nothing of the batch is taken.

    >>> def train_step(model, x, y, criterion, optimizer, epoch=0): ...
    >>> parts_of(train_step)
    {'model': 'model', 'x': 'inputs', 'y': 'targets', 'criterion': 'loss_fn', 'optimizer': 'optimizer'}
    >>> parts_of(lambda batch, lr: None)
    Traceback (most recent call last):
    steadygrad.errors.SetupError: `parameter of step` must be one of 'model', 'batch', 'inputs', 'targets', 'loss_fn',
        'optimizer', 'scaler', got 'lr'. Bind what else it takes with functools.partial.
    """
    if not callable(step) or isinstance(step, type):
        kind = f"the class {step.__name__}" if isinstance(step, type) else type(step).__name__
        raise SetupError(f"`step` must be a function that makes one step of training, got {kind}.")
    found: dict[str, str] = {}
    for parameter in _parameters(step):
        if parameter.name in _PART and parameter.kind in _BY_NAME:
            found[parameter.name] = _PART[parameter.name]
        elif parameter.default is parameter.empty:
            message = unknown_name("parameter of step", parameter.name, NAMES)
            raise SetupError(f"{message} Bind what else it takes with functools.partial.")
    if not {"batch", "inputs"} & set(found.values()):
        raise SetupError(f"`step` must take `batch`, or `inputs` and `targets`, got {sorted(found) or 'neither'}.")
    return found


def _parameters(step: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that a call must or may give, however it is wrapped or bound."""
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):
        raise SetupError("`step` must be a function whose parameters have names, got one without any.") from None
    gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in signature.parameters.values() if p.kind not in gathering]
