"""Networks that do not take a step keep every bit of their parameters and of the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def held(tensors: Sequence[Tensor], active: Tensor | None, *, waits: bool | None = None) -> Iterator[None]:
    """Let the block change these tensors for the active networks alone.

    On a CPU only the networks that are held are copied, nearly always none. Elsewhere all are, since asking a device
    which networks are active would wait for it at every step.

    Args:
        tensors: [layers, networks, ...].
        active: [networks]; None where all are.
        waits: whether to wait for `active`; on a CPU by default.

    >>> block = torch.zeros(1, 2, 1)
    >>> with held([block], torch.tensor([True, False])):
    ...     _ = block.add_(1)
    >>> block.flatten()
    tensor([1., 0.])
    """
    if active is None:
        yield
        return
    if active.is_cpu if waits is None else waits:
        index = (~active).nonzero().view(-1)
        kept = [t.index_select(1, index) for t in tensors] if len(index) else []
        yield
        for tensor, copy in zip(tensors, kept, strict=False):
            tensor.index_copy_(1, index, copy)
        return
    before = [t.clone() for t in tensors]
    yield
    for tensor, copy in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(active.view(1, -1, *[1] * (tensor.dim() - 2)), tensor, copy))
