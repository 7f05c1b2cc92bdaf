"""What a training run is made of: model, data, loss function, optimizer, and its own step where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from steadygrad.errors import SetupError, unknown_name

from .user_step import parts_of


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A training setup, checked when it is made.

    Attributes:
        model: the network, with at least one parameter.
        data: re-iterable of batches (inputs, targets), such as a DataLoader or a list; None where there is none. Inputs
            that are a mapping or a sequence of tensors are unpacked into the call of the model where its `forward`
            takes them so, and given whole where it does not; targets that are one are given to the loss whole.
        loss_fn: takes (outputs, targets), returns a scalar tensor.
        optimizer: over the model's parameters.
        step: one step of training as the user's loop makes it: it zeroes gradients, runs forward and backward, clips,
            steps. Its parameters are matched by name: `model`, `batch` (as the data give it), `inputs`, `targets`,
            `loss_fn`, `optimizer`, `scaler` (a fresh `torch.amp.GradScaler`); what it returns is not looked at.

    Raises:
        SetupError: a part is of the wrong type, the model has no parameters, the data are empty or an iterator that
            would be used up, there is a loss function without data, or the step takes what there is not.

    >>> Setup(model=nn.Linear(2, 1), data=[(torch.ones(3, 2), torch.ones(3, 1))], loss_fn=nn.MSELoss()).optimizer
    """

    model: nn.Module
    data: Iterable[Any] | None = None
    loss_fn: Callable[[Any, Any], torch.Tensor] | None = None
    optimizer: torch.optim.Optimizer | None = None
    step: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        _check_model(self.model)
        _check_data(self.data)
        if self.loss_fn is not None and not callable(self.loss_fn):
            raise SetupError(_must_be("loss_fn", "a callable (outputs, targets) -> scalar tensor", self.loss_fn))
        if isinstance(self.loss_fn, type):
            raise SetupError(f"`loss_fn` must be an instance, got the class {self.loss_fn.__name__}.")
        if self.optimizer is not None and not isinstance(self.optimizer, torch.optim.Optimizer):
            raise SetupError(_must_be("optimizer", "a torch.optim.Optimizer", self.optimizer))
        if self.step is not None:
            for name, part in parts_of(self.step).items():
                if part in ("loss_fn", "optimizer") and getattr(self, part) is None:
                    raise SetupError(f"`setup` must have `{part}`, which `step` takes as `{name}`, got none.")

    @classmethod
    def of(cls, subject: object) -> Setup:
        """Return the setup that `subject` describes.

        Args:
            subject: a `Setup`, a mapping with `model` and any of `data`, `loss_fn`, `optimizer`, `step`, or a
                module.

        Raises:
            SetupError: it is none of these, or a part of it cannot be used.

        >>> Setup.of({"model": nn.Linear(2, 1)}).model
        Linear(in_features=2, out_features=1, bias=True)
        """
        match subject:
            case Setup():
                return subject
            case nn.Module():
                return cls(model=subject)
            case Mapping():
                return cls(**_known_keys(subject))
            case _:
                raise SetupError(_must_be("setup", "a module, a Setup or a mapping with a 'model'", subject))


def _must_be(name: str, rule: str, got: object) -> str:
    kind = f"the class {got.__name__}" if isinstance(got, type) else f"{type(got).__name__}"
    return f"`{name}` must be {rule}, got {kind}."


def _known_keys(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(Setup)]
    for key in mapping:
        if key not in known:
            raise SetupError(unknown_name("setup key", str(key), known))
    if "model" not in mapping:
        raise SetupError(f"`setup` must have the key 'model', got {sorted(mapping) or 'an empty mapping'}.")
    return dict(mapping)


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise SetupError(_must_be("model", "a torch.nn.Module", model))
    if next(model.parameters(), None) is None:
        raise SetupError(f"`model` must have at least one parameter, got {type(model).__name__} without any.")


def _check_data(data: object) -> None:
    if data is None:
        return
    if isinstance(data, Iterator):
        raise SetupError(
            _must_be("data", "re-iterable, as a list or a DataLoader is", data)[:-1] + ", which is used up by one pass."
        )
    if isinstance(data, (str, bytes, Mapping)) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise SetupError(_must_be("data", "a re-iterable of batches (inputs, targets)", data))
    if isinstance(data, torch.Tensor):
        raise SetupError(_must_be("data", "a re-iterable of batches (inputs, targets), such as [(x, y)]", data))
