"""Sharded gradients: their local part, and the sum over ranks that makes a norm of local norms the global one."""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; one cannot exist before its module is imported.

    >>> is_sharded(torch.ones(2))
    False
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def reduced(gradient: Any) -> Any:
    """Return a DTensor without pending sums: a partial placement is replicated first, the others stay."""
    from torch.distributed.tensor import Replicate

    if not any(p.is_partial() for p in gradient.placements):
        return gradient
    return gradient.redistribute(placements=[Replicate() if p.is_partial() else p for p in gradient.placements])


def groups_of(gradient: Any, keep: int | None = None) -> tuple[Any, ...]:
    """Return the process groups over which a DTensor is split; a replicated dimension counts once and needs none.

    Args:
        gradient: a DTensor without pending sums.
        keep: a dimension along which a split needs no sum either.
    """
    mesh, split = gradient.device_mesh, [i for i, p in enumerate(gradient.placements) if not p.is_replicate()]
    return tuple(mesh.get_group(i) for i in split if keep is None or gradient.placements[i].dim != keep)


def summed_over_ranks(parts: Tensor, members: dict[tuple[Any, ...], list[int]], p: float) -> Tensor:
    """Return per-parameter norms over all ranks from those of the local parts.

    ``‖g‖_p^p = sum over ranks ‖g_rank‖_p^p``, taken after a division by the largest part, so that nothing overflows.
    Every rank gets the same bits, non-finite ones included.

    Args:
        parts: norms of the local parts, in double precision.
        members: for each tuple of process groups the positions that are split over them, in one order on all ranks.
        p: order of the norm.
    """
    for groups, positions in members.items():
        index = torch.tensor(positions, device=parts.device)
        parts[index] = combined(groups, parts[index], p)
    return parts


def combined(groups: tuple[Any, ...], local: Tensor, p: float) -> Tensor:
    """Return norms over all ranks of some groups from norms of the same things' parts on each rank."""
    import torch.distributed as dist

    largest = torch.nan_to_num(local, nan=0.0, posinf=0.0)
    # A maximum may lose a NaN; the sum of x - x, which is 0 or NaN, brings it to every rank.
    poison = local - local
    for group in groups:
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=group)
    scale = torch.where(largest > 0, largest, 1.0)
    share = poison if math.isinf(p) else (local / scale) ** p + poison
    for group in groups:
        dist.all_reduce(share, group=group)
    return largest + share if math.isinf(p) else scale * share ** (1 / p)
