"""Fused optimizers: the scale of the gradient, and the decision to do nothing, inside their kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def takes_scale(optimizer: torch.optim.Optimizer) -> bool:
    """Whether every step of an optimizer divides by `grad_scale` and heeds `found_inf` in its kernel.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> [takes_scale(torch.optim.Adam([weight], fused=fused)) for fused in (True, False)]
    [True, False]
    """
    marked = getattr(optimizer, "_step_supports_amp_scaling", False)
    return bool(marked) and all(group.get("fused") for group in optimizer.param_groups)


@contextmanager
def scaled(optimizer: Any, grad_scale: Tensor | None, found_inf: Tensor | None = None) -> Iterator[None]:
    """Let the steps inside divide gradients by `grad_scale`, and do nothing where `found_inf` is 1."""
    for name, value in (("grad_scale", grad_scale), ("found_inf", found_inf)):
        if value is not None:
            setattr(optimizer, name, value)
    try:
        yield
    finally:
        for name in ("grad_scale", "found_inf"):
            optimizer.__dict__.pop(name, None)


def is_cold(optimizer: torch.optim.Optimizer) -> bool:
    """Whether refusing this step inside the kernel would leave state that no clean first step starts from.

    Fused SGD allocates its momentum buffer without filling it and lets the kernel's first step do that; refused, the
    kernel leaves the garbage, which later steps take for momentum. So such a step is decided by the host. Adam and
    Adagrad start from zeros (Adagrad: a constant) and may be refused at any time.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> weight.grad = torch.ones(1)
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    >>> before = is_cold(optimizer); optimizer.step(); before, is_cold(optimizer)
    (True, False)
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return False
    groups = [group for group in optimizer.param_groups if group["momentum"] != 0]
    moving = (p for group in groups for p in group["params"] if p.grad is not None)
    return any(optimizer.state.get(p, {}).get("momentum_buffer") is None for p in moving)
