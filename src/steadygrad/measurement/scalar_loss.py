"""The scalar that a backward pass begins at: the loss of a batch, or independent unit gradients where there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from steadygrad.errors import SetupError, not_allowed

from .calls import first_tensor

Loss = Callable[[Any, Any], torch.Tensor]


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a batch's inputs: a tensor as it is, a sequence or a mapping as `arguments_of` says.

    Raises:
        ValueError: the inputs are none of these.

    >>> outputs_of(nn.Identity(), torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    args, kwargs = arguments_of(model, inputs)
    return model(*args, **kwargs)


def arguments_of(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a model is called with: a sequence or a mapping unpacked, or whole where `forward` takes it not so.

    Raises:
        ValueError: the inputs are none of these.

    >>> class Whole(nn.Module):
    ...     def forward(self, batch): return batch["x"] + batch["y"]
    >>> arguments_of(Whole(), {"x": 1, "y": 2}), arguments_of(nn.Bilinear(1, 1, 1), ("x", "y"))
    ((({'x': 1, 'y': 2},), {}), (('x', 'y'), {}))
    """
    match inputs:
        case torch.Tensor():
            return (inputs,), {}
        case Mapping():
            args, kwargs = (), dict(inputs)
        case Sequence():
            args, kwargs = tuple(inputs), {}
        case _:
            raise ValueError(not_allowed("inputs", "must be a tensor, a sequence or a mapping", type(inputs).__name__))
    return (args, kwargs) if _takes(model, args, kwargs) or not _takes(model, (inputs,), {}) else ((inputs,), {})


def _takes(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether `forward` can be called so, by its signature; True where it has none to read."""
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def scalar_loss(loss: Any) -> torch.Tensor:
    """Return what a loss function returned as a scalar with a gradient.

    Raises:
        SetupError: it is not a scalar, or has no gradient.

    >>> scalar_loss(torch.ones(1, requires_grad=True)).shape
    torch.Size([])
    """
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise SetupError(f"`loss_fn` must return a scalar tensor, got {got}.")
    if not loss.requires_grad:
        raise SetupError(
            "`loss_fn` must return a tensor with a gradient, got one that depends on no parameter that requires one."
        )
    return loss.reshape(())


def unit_gradients(output: Any) -> torch.Tensor:
    """Return a scalar whose gradient is independent and of unit variance at every entry of the output.

    Raises:
        SetupError: the output holds no tensor with a gradient.

    >>> unit_gradients(torch.ones(2, 3, requires_grad=True)).requires_grad
    True
    """
    tensor = first_tensor(output)
    if tensor is None or not tensor.requires_grad:
        got = "no tensor" if tensor is None else "a tensor without a gradient"
        raise SetupError(f"`model` must return a tensor with a gradient, got {got}.")
    generator = torch.Generator(device=tensor.device).manual_seed(0)
    direction = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
    return (tensor * direction).sum()
