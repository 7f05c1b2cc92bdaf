"""Clipping every entry by its value, and the angle by which that turns the gradient."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .gradients import Gradients
from .norms import total
from .policy import Policy, at_least_zero


def value_(parameters: Tensor | Iterable[Tensor], max_value: float) -> Tensor:
    """Clamp every entry of every gradient to ``[-max_value, max_value]``.

    The direction turns; by how much, `ByValue` measures. An inf becomes ±max_value, a NaN stays; of a complex gradient
    the real and the imaginary part are clamped each.

    Args:
        parameters: a tensor or any iterable of tensors.
        max_value: >= 0.

    Returns:
        The Euclidean norm before, in double precision on the gradients' device.

    Raises:
        ValueError: `max_value` is negative or NaN.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 0.5])
    >>> _ = value_(weight, 1.0)
    >>> weight.grad
    tensor([1.0000, 0.5000])
    """
    limit, gradients = at_least_zero("max_value", max_value), Gradients(parameters)
    norm = gradients.total()
    _clamp_(gradients, limit)
    return norm


class ByValue(Policy):
    """Clamp every entry to ``[-max_value, max_value]``, and measure the turn of the direction.

    With c = clamp(g), ``cos angle = g·c / (‖g‖ ‖c‖)`` and ``g·c = ‖c‖² + v (‖g‖_1 - ‖c‖_1)``, because an entry that is
    clamped has |c| = v: norms alone, no copy of the gradient. Clipping by the norm turns it by nothing.

    Args:
        max_value: v, >= 0.
        measure_angle: the angle costs three more passes that only read.

    Raises:
        ValueError: `max_value` is negative or NaN.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([10.0, 1.0])
    >>> policy = ByValue(1.0)
    >>> _ = policy(weight)
    >>> round(policy.statistics.angles[0], 4)  # atan(1) - atan(0.1)
    0.6857
    """

    def __init__(self, max_value: float, *, measure_angle: bool = True) -> None:
        super().__init__()
        self.max_value = at_least_zero("max_value", max_value)
        self.measure_angle = measure_angle

    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Clamp in place."""
        norm, largest = gradients.total(), gradients.total(torch.inf)
        sum_before = gradients.total(1.0) if self.measure_angle else None
        _clamp_(gradients, self.max_value)
        angle = None if sum_before is None else self._angle(norm, sum_before, gradients)
        self._tally.add(norm, torch.where(largest > self.max_value, 0.0, 1.0), accepted, angle=angle)
        return norm

    def _angle(self, norm: Tensor, sum_before: Tensor, gradients: Gradients) -> Tensor:
        after = total(gradients.norms())
        dot = after**2 + self.max_value * (sum_before - gradients.total(1.0))
        return torch.arccos((dot / (norm * after)).clamp(max=1.0))


def _clamp_(gradients: Gradients, limit: float) -> None:
    with torch.no_grad():
        for tensor in gradients.tensors:
            tensor.clamp_(-limit, limit)
    gradients.changed()
