"""Norms of many tensors at once that neither overflow nor underflow.

The quick pass squares in the tensor's own precision (half precision in single), which overflows above about 1e19 and
loses entries below about 1e-19. Where the host may look at the result for free, on the CPU, the few norms that could
have suffered are taken again, scaled by their largest entry. On an accelerator nothing is read: single precision is
accumulated in double, whose range holds every square, and double is scaled throughout.
"""

from __future__ import annotations

import math
import operator

import torch
from torch import Tensor

# Entries that a tensor may have for the underflow bound to hold.
_MOST_ENTRIES = 2.0**40
# Single precision spans 2^-149 to 2^128: in double, whose range is 2^-1074 to 2^1024, powers up to 7 neither vanish nor
# overflow over _MOST_ENTRIES entries.
_WIDE_POWER = 7.0
# Laying tensors end to end was measured to pay up to 4096 entries each, from a dozen tensors on.
_SMALL, _FEW = 4096, 12
_is_cpu, _dtype = operator.attrgetter("is_cpu"), operator.attrgetter("dtype")


def reads_freely(device: torch.device) -> bool:
    """Whether the host reads a number on this device without waiting for it.

    >>> reads_freely(torch.device("cpu"))
    True
    """
    return device.type == "cpu"


def norms(tensors: list[Tensor], p: float = 2.0) -> Tensor:
    """Return ‖t‖_p of every tensor, in double precision on the first tensor's device.

    A norm is non-finite exactly where an entry is, or where it is itself above the range of double precision.

    Args:
        tensors: real, strided, at least one.
        p: order of the norm, > 0 or inf.

    >>> norms([torch.full((100,), 1e20), torch.tensor([3.0, 4.0])])
    tensor([1.0000e+21, 5.0000e+00], dtype=torch.float64)
    """
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, t in enumerate(tensors):
        groups.setdefault((t.device, t.dtype), []).append(i)
    if len(groups) == 1:
        return _of_one_kind(tensors, p)
    # Put in order by the host alone: an index tensor would have to be copied to the device, which waits.
    ordered = list(tensors)
    for members in groups.values():
        found = _of_one_kind([tensors[i] for i in members], p).to(tensors[0].device, non_blocking=True)
        for i, norm in zip(members, found.unbind(), strict=True):
            ordered[i] = norm
    return torch.stack(ordered)


def total(parts: Tensor, p: float = 2.0) -> Tensor:
    """Return the norm of everything from the norms of its parts: ‖(n_1, n_2, ...)‖_p, safe over the whole range.

    >>> total(torch.tensor([3e200, 4e200], dtype=torch.float64))
    tensor(5.0000e+200, dtype=torch.float64)
    """
    if math.isinf(p):
        return parts.amax()
    if p == 2 and reads_freely(parts.device):
        return torch.tensor(math.hypot(*parts.tolist()), dtype=torch.float64)
    scale = parts.amax()
    # A scale of 0, inf or NaN is the answer itself, and dividing by 1 instead keeps it.
    scale = torch.where((scale > 0) & (scale < math.inf), scale, 1.0)
    norm: Tensor = scale * torch.linalg.vector_norm(parts / scale, p)
    return norm


def joined(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors with the same norm together, where small ones on the CPU are laid end to end.

    One call a tensor costs more than its numbers there; an accelerator's kernels take many tensors anyhow.

    >>> [len(t) for t in joined([torch.ones(2)] * 20 + [torch.ones(5000)])]
    [5000, 40]
    """
    if len(tensors) < _FEW:
        return tensors
    flatten = torch._utils._flatten_dense_tensors
    # Asked of all at once, which is most often the answer, before each is asked for itself.
    if max(map(Tensor.numel, tensors)) <= _SMALL and all(map(_is_cpu, tensors)) and len(set(map(_dtype, tensors))) == 1:
        return [flatten(tensors)]  # type: ignore[no-untyped-call]
    large: list[Tensor] = []
    small: dict[torch.dtype, list[Tensor]] = {}
    for t in tensors:
        (small.setdefault(t.dtype, []) if t.numel() <= _SMALL and t.is_cpu else large).append(t)
    return large + [flatten(each) for each in small.values()]  # type: ignore[no-untyped-call]


def _of_one_kind(tensors: list[Tensor], p: float) -> Tensor:
    if math.isinf(p):
        tensors = [t if t.numel() else t.new_zeros(1) for t in tensors]
        return torch.stack(torch._foreach_norm(tensors, p)).double()
    return _retried(tensors, p) if reads_freely(tensors[0].device) else _unread(tensors, p)


def _retried(tensors: list[Tensor], p: float) -> Tensor:
    """The quick pass, and the careful one for norms that may have overflowed or lost entries to underflow."""
    dtype = tensors[0].dtype
    wide = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    quick = torch.stack(
        torch._foreach_norm(tensors, p, dtype=wide) if wide != dtype else torch._foreach_norm(tensors, p)
    )
    limits = torch.finfo(wide)
    # Entries below tiny^(1/p) vanish: together at most (n tiny)^(1/p), which does not count above (n tiny / eps)^(1/p).
    floor = (_MOST_ENTRIES * limits.tiny / limits.eps) ** (1 / p)
    values = quick.double()
    seen = values.numpy()
    for i in ((seen <= floor) | ~(seen < math.inf)).nonzero()[0].tolist():
        values[i] = _scaled_by_largest(tensors[i], p)
    return values


def _unread(tensors: list[Tensor], p: float) -> Tensor:
    dtype = tensors[0].dtype
    if dtype != torch.float64 and p <= _WIDE_POWER:
        wide = torch.float32 if dtype == torch.float16 and p <= 2 else torch.float64
        return torch.stack(torch._foreach_norm(tensors, p, dtype=wide)).double()
    return torch.stack([_scaled_by_largest(t, p) for t in tensors])


def _scaled_by_largest(tensor: Tensor, p: float) -> Tensor:
    if not tensor.numel():
        return torch.zeros((), dtype=torch.float64, device=tensor.device)
    wide = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    largest = torch.linalg.vector_norm(wide, math.inf)
    # A scale of 0, inf or NaN is the answer itself, and dividing by 1 instead keeps it.
    scale = torch.where((largest > 0) & (largest < math.inf), largest, 1.0)
    norm: Tensor = torch.linalg.vector_norm(wide / scale, p).double() * scale.double()
    return norm
