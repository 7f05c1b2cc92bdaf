"""Clipping by the global norm."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .gradients import Gradients, factor_to
from .norms import reads_freely
from .policy import Scaling, at_least_zero, order_of_norm


def norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, *, p: float = 2.0) -> Tensor:
    """Scale all gradients together so that their norm is at most `max_norm`: ``g <- g · min(1, max_norm / ‖g‖_p)``.

    The norm neither overflows nor underflows in any dtype. Gradients with an inf or NaN are left as they are: scaling
    mends neither. Where no scaling is needed no gradient is written.

    Args:
        parameters: a tensor or any iterable of tensors; one listed twice counts once.
        max_norm: >= 0; 0 makes every gradient zero, inf only measures.
        p: order of the norm, > 0 or inf.

    Returns:
        The norm before, in double precision on the gradients' device; 0 where there is none.

    Raises:
        ValueError: `max_norm` is negative or NaN, or `p` is not above 0.

    Reference: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> norm_(weight, 1.0).item(), weight.grad
    (5.0, tensor([0.6000, 0.8000]))
    """
    limit, p = at_least_zero("max_norm", max_norm), order_of_norm(p)
    gradients = Gradients(parameters)
    norm = gradients.total(p)
    if not reads_freely(norm.device):
        gradients.scale_(factor_to(limit, norm))
    elif limit < norm.item() < math.inf:
        gradients.scale_(torch.tensor(limit / norm.item(), dtype=torch.float64))
    return norm


class ByNorm(Scaling):
    """Clip by the global norm: ``g <- g · min(1, max_norm / ‖g‖_p)``.

    Args:
        max_norm: >= 0; 0 makes every gradient zero, inf only measures.
        p: order of the norm, > 0 or inf.

    Raises:
        ValueError: `max_norm` is negative or NaN, or `p` is not above 0.

    Reference: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> policy = ByNorm(1.0)
    >>> policy(weight).item(), policy.statistics.rate
    (5.0, 1.0)
    """

    def __init__(self, max_norm: float, *, p: float = 2.0) -> None:
        super().__init__()
        self.max_norm = at_least_zero("max_norm", max_norm)
        self.p = order_of_norm(p)

    def limit(self) -> float:
        """Return `max_norm`."""
        return self.max_norm
