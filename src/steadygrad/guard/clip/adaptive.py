"""Adaptive gradient clipping: each unit's gradient against the norm of the unit's own weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from steadygrad.errors import not_allowed

from .gradients import Gradients
from .policy import Policy, at_least_zero
from .shards import combined, groups_of, is_sharded


def adaptive_(
    parameters: Tensor | Iterable[Tensor],
    clipping: float = 0.01,
    *,
    eps: float = 1e-3,
    transposed: Tensor | Collection[Tensor] = (),
) -> Tensor:
    """Clip each unit's gradient to a share of its weights' norm: ``‖g_u‖ <= clipping · max(‖w_u‖, eps)``.

    A unit is a row of a matrix (an output of a linear layer, a filter of a convolution); a vector or a number is one
    unit as a whole.

    Args:
        parameters: a tensor or any iterable of tensors.
        clipping: λ, >= 0; the paper uses 0.01 at large batches, 0.16 at small ones.
        eps: what a weight's norm counts at least, so that weights that start at zero can grow.
        transposed: those of `parameters` whose units lie along the second dimension (transposed convolutions).

    Returns:
        The global norm before, in double precision on the gradients' device.

    Raises:
        ValueError: `clipping` is negative or NaN, or a gradient is sparse.

    Reference: Brock, De, Smith, Simonyan 2021, High-performance large-scale image recognition without normalization,
    equation 3.

    >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    >>> weight.grad = torch.tensor([[0.3, 0.4], [0.0, 0.001]])
    >>> _ = adaptive_(weight, 0.01)
    >>> weight.grad
    tensor([[0.0300, 0.0400], [0.0000, 0.0010]])
    """
    return Adaptive(clipping, eps=eps, transposed=transposed)(parameters)


class Adaptive(Policy):
    """Clip unit-wise against the weights: ``g_u <- g_u · min(1, clipping · max(‖w_u‖, eps) / ‖g_u‖)``.

    Args:
        clipping: λ, >= 0.
        eps: what a weight's norm counts at least.
        transposed: parameters whose units lie along the second dimension (transposed convolutions).
        exclude: parameters to leave alone; the paper leaves out the last layer's.

    Raises:
        ValueError: `clipping` or `eps` is negative or NaN.

    Reference: Brock, De, Smith, Simonyan 2021, equation 3.

    >>> Adaptive(0.01).statistics.steps
    0
    """

    def __init__(
        self,
        clipping: float = 0.01,
        *,
        eps: float = 1e-3,
        transposed: Tensor | Collection[Tensor] = (),
        exclude: Tensor | Collection[Tensor] = (),
    ) -> None:
        super().__init__()
        self.clipping = at_least_zero("clipping", clipping)
        self.eps = at_least_zero("eps", eps)
        self._kept = [_listed(transposed), _listed(exclude)]  # an id means nothing once its tensor is gone
        self._transposed, self._excluded = (frozenset(map(id, kept)) for kept in self._kept)

    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Scale each unit's gradient by its own factor."""
        norm = gradients.total()
        smallest = torch.ones((), dtype=torch.float64, device=norm.device)
        with torch.no_grad():
            for parameter in gradients.parameters:
                if id(parameter) not in self._excluded:
                    smallest = torch.minimum(smallest, self._clip_one_(parameter).to(norm.device))
        gradients.changed()
        self._tally.add(norm, smallest, accepted)
        return norm

    def _clip_one_(self, parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        if gradient.layout is not torch.strided:
            raise ValueError(not_allowed("gradient", "of adaptive clipping must be dense", gradient.layout))
        if not parameter.numel():
            return torch.ones((), dtype=torch.float64, device=parameter.device)
        units = 1 if id(parameter) in self._transposed else 0
        allowed = self.clipping * unit_norms(parameter, units).clamp(min=self.eps)
        found = unit_norms(gradient, units)
        factor = torch.where((found > allowed) & (found < torch.inf), allowed / found, 1.0)
        _local(gradient).mul_(factor.to(gradient.dtype.to_real()))
        return factor.amin().double() if factor.numel() else factor.new_ones(()).double()


def _listed(tensors: Tensor | Collection[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def unit_norms(tensor: Any, dim: int = 0) -> Tensor:
    """Return the Euclidean norm of every unit along `dim`, of a shape that multiplies the tensor (or its local part).

    It is scaled by the unit's largest entry, so it neither overflows nor underflows.

    >>> unit_norms(torch.tensor([[3e30, 4e30], [0.0, 0.0]])).flatten()
    tensor([5.0000e+30, 0.0000e+00], dtype=torch.float64)
    """
    over = [d for d in range(tensor.ndim) if d != dim] if tensor.ndim > 1 else list(range(tensor.ndim))
    local = _local(tensor)
    norms = _local_unit_norms(local, over)
    # Ranks that hold different units have nothing to add up; those that hold parts of the same units have.
    groups = groups_of(tensor, keep=dim if tensor.ndim > 1 else None) if is_sharded(tensor) else ()
    return combined(groups, norms, 2.0) if groups else norms


def _local_unit_norms(local: Tensor, over: list[int]) -> Tensor:
    if not local.numel():
        shape = [1 if d in over else size for d, size in enumerate(local.shape)]
        return torch.zeros(shape, dtype=torch.float64, device=local.device)
    wide = local.float() if local.dtype in (torch.float16, torch.bfloat16) else local
    largest = wide.abs().amax(dim=over, keepdim=True)
    scale = torch.where((largest > 0) & (largest < torch.inf), largest, 1.0)
    norms: Tensor = torch.linalg.vector_norm(wide / scale, dim=over, keepdim=True).double() * scale.double()
    return norms


def _local(tensor: Any) -> Tensor:
    local: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return local
