"""The norm of many tensors as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import torch


@torch.no_grad()
def foreach_norm(tensors: Iterable[torch.Tensor | None]) -> torch.Tensor:
    """Return the Euclidean norm over all entries, as a scalar of double precision on the first tensor's device.

    Args:
        tensors: of any shapes, on any devices; None stands for zero.

    >>> foreach_norm([torch.tensor([3.0]), None, torch.tensor([[4.0]])]).item()
    5.0
    """
    dense = [_dense(t.detach()) for t in tensors if t is not None and t.numel()]
    if not dense:
        return torch.zeros((), dtype=torch.float64)
    norms = torch._foreach_norm(dense)
    if len({(n.device, n.dtype) for n in norms}) > 1:
        norms = tuple(n.to(dense[0].device, torch.float64) for n in norms)
    total: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms), dtype=torch.float64)
    return total


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    values = torch.view_as_real(values) if values.is_complex() else values
    # The square of a half-precision number overflows early.
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
