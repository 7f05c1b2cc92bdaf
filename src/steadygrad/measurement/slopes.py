"""How large a share of an activation's entries is saturated: flat, and away from where a unit is merely off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .unit_health import SMALL_SLOPE, slopes

# Far out for pre-activations of about one; softsign, whose slope falls slowest of torch's own, has 1/4225 there.
_FAR = 64.0

# Entries that a function is tried at beside those that came, and examples of them at least. On three deviations to
# either side they lie 0.0015 apart: the slope of a sigmoid a hundred times too steep is met within 1% of its largest.
_TRIED = 2**12
_EXAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class FlatShare:
    """Saturation of one activation.

    Attributes:
        saturated: share of entries whose slope is at most e^-3 of the steepest and whose value is not that of phi(0).
        entries: how many there are.
        units: entries of the last axis, or channels of an image.
    """

    saturated: float
    entries: int
    units: int


class Pointwise(nn.Module):
    """A function as a module.

    >>> Pointwise(torch.tanh)(torch.zeros(1)).item()
    0.0
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], name: str = "") -> None:
        super().__init__()
        self.function = function
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the function."""
        return self.function(x)


def flat_share(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> FlatShare | None:
    """Return the share of saturated entries; None where the function is not pointwise.

    A slope is small below e^-3 of the steepest, as for units (`unit_health`). An entry that is off, as a ReLU's
    below zero, gives what the function gives at 0, within e^-3 of its reach over three deviations: it is not
    saturated. A sigmoid near 0 is, since its value at 0 is one half.

    Args:
        function: of one tensor; a module or a callable.
        x: its input, [examples, ...].

    >>> flat_share(torch.tanh, torch.tensor([[9.0, 0.0], [-9.0, 9.0]])).saturated
    0.75
    >>> flat_share(torch.relu, torch.tensor([[9.0, 0.0], [-9.0, -9.0]])).saturated
    0.0
    """
    if not x.is_floating_point() or x.numel() == 0 or x.dim() < 2:
        return None
    module = function if isinstance(function, nn.Module) else Pointwise(function)
    found = slopes(module, x)
    at_zero, usual = (None if found is None else _tried(module, x, at) for at in (torch.zeros_like, _usual))
    if found is None or at_zero is None or usual is None:
        return None
    steepest = usual[1].abs().max()
    if not _flat_far_out(module, x, steepest):
        return FlatShare(saturated=0.0, entries=x.numel(), units=_units(x))
    steepest = torch.maximum(steepest, found[1].abs().max())
    zero = at_zero[0] if len(at_zero[0]) == len(x) else at_zero[0][:1]
    away = (found[0] - zero).abs()
    reach = (usual[0] - zero[: len(usual[0])]).abs().max()
    saturated = (found[1].abs() <= SMALL_SLOPE * steepest) & (away > SMALL_SLOPE * reach)
    return FlatShare(saturated=float(saturated.double().mean()), entries=x.numel(), units=_units(x))


def _tried(
    module: nn.Module, x: torch.Tensor, at: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Output and slope where a function is tried: on few examples, or on as many as came where it takes no fewer."""
    few = x[: max(-(-_TRIED * len(x) // x.numel()), _EXAMPLES)]
    found = slopes(module, at(few))
    return slopes(module, at(x)) if found is None and len(few) < len(x) else found


def _flat_far_out(module: nn.Module, x: torch.Tensor, steepest: torch.Tensor) -> bool:
    """Whether the function is flat on both sides, as those are that saturate; ReLU and exp are on one."""
    found = _tried(module, x, _far)
    return found is not None and bool((found[1].abs() <= SMALL_SLOPE * steepest).all())


def _far(x: torch.Tensor) -> torch.Tensor:
    far = torch.full_like(x, _FAR, memory_format=torch.contiguous_format)
    far.view(-1)[::2] = -_FAR
    return far


def _units(x: torch.Tensor) -> int:
    return x.shape[1 if x.dim() > 3 else -1]


def _usual(x: torch.Tensor) -> torch.Tensor:
    return torch.linspace(-3.0, 3.0, x.numel(), dtype=x.dtype, device=x.device).view(x.shape)
