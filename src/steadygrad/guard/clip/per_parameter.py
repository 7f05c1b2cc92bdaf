"""Clipping every parameter's gradient by its own norm."""

from __future__ import annotations

from torch import Tensor

from .gradients import Gradients, factor_to
from .policy import Policy, at_least_zero, order_of_norm


class PerParameter(Policy):
    """Clip each parameter's gradient by its own norm: ``g_i <- g_i · min(1, max_norm / ‖g_i‖_p)``.

    One layer that explodes no longer shortens the step of the others, at the price of a turned direction.

    Args:
        max_norm: of each parameter's gradient, >= 0; 0 makes them zero, inf only measures.
        p: order of the norm, > 0 or inf.

    Raises:
        ValueError: `max_norm` is negative or NaN, or `p` is not above 0.

    >>> import torch
    >>> big, small = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    >>> big.grad, small.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5, 0.0])
    >>> _ = PerParameter(1.0)([big, small])
    >>> big.grad, small.grad
    (tensor([0.6000, 0.8000]), tensor([0.5000, 0.0000]))
    """

    def __init__(self, max_norm: float, *, p: float = 2.0) -> None:
        super().__init__()
        self.max_norm = at_least_zero("max_norm", max_norm)
        self.p = order_of_norm(p)

    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Scale each gradient by its own factor."""
        norm = gradients.total(self.p)
        factors = factor_to(self.max_norm, gradients.norms(self.p))
        gradients.scale_(factors)
        self._tally.add(norm, factors.amin(), accepted)
        return norm
