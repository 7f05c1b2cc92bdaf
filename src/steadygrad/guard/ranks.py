"""What all ranks must see alike, so that they decide alike."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .clip.shards import is_sharded


class Ranks:
    """The process groups that train one model together: DistributedDataParallel's, or the mesh of its DTensors.

    Args:
        model: wrapped by DistributedDataParallel, sharded by `fully_shard`, or neither.

    >>> Ranks(nn.Linear(1, 1)).groups
    ()
    """

    def __init__(self, model: nn.Module) -> None:
        self.groups: tuple[Any, ...] = ()
        parameters = list(model.parameters())
        split = [p for p in parameters if is_sharded(p)]
        if isinstance(model, nn.parallel.DistributedDataParallel):
            self.groups = (model.process_group,)
        elif split:
            mesh: Any = max((getattr(p, "device_mesh") for p in split), key=lambda mesh: mesh.size())  # noqa: B009
            self.groups = tuple(mesh.get_group(i) for i in range(mesh.ndim))
        self._mixed = bool(split) and len(split) < len(parameters)

    def agree(self, norm: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Return the norm and the mean loss that all ranks share; a NaN or inf on one rank reaches all.

        Gradients that DistributedDataParallel averaged, or that are DTensors, have one norm anyhow; plain tensors
        beside DTensors are held to be replicas, and the largest norm counts.
        """
        if not self.groups:
            return norm, loss
        seen = torch.stack((loss, norm - norm))
        largest = torch.nan_to_num(norm, nan=0.0, posinf=0.0)
        world = 1
        for group in self.groups:
            world *= dist.get_world_size(group)
            dist.all_reduce(seen, group=group)
            if self._mixed:
                dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=group)
        return (largest if self._mixed else norm) + seen[1], seen[0] / world
