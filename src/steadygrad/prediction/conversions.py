"""Conversions, of whole modules too, such as `.bfloat16()` or `.to(device)`, on fake parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


@contextlib.contextmanager
def convertible(fake: FakeTensorMode) -> Iterator[None]:
    """Let a module exchange its parameters in place, as torch does with fake ones; torch is as it was at the end.

    It refuses where a weak reference to one is left, and the mode's own memory of conversions holds some: it is a
    cache, and forgotten before.
    """
    swap: Any = torch.utils.swap_tensors
    memo = fake.fake_tensor_converter.meta_converter.tensor_memo

    def forgetful(one: Any, other: Any) -> None:
        memo.clear()
        swap(one, other)

    torch.utils.swap_tensors = forgetful
    try:
        yield
    finally:
        torch.utils.swap_tensors = swap


def require(device: Any) -> None:
    """Refuse a device that this machine does not have: operators on its fake tensors may end the process.

    Raises:
        RuntimeError: there is none.
    """
    wanted = torch.device(device)
    if wanted.type in ("cpu", "meta"):
        return
    found = torch.get_device_module(wanted.type)
    if not found.is_available() or (wanted.index or 0) >= found.device_count():
        raise RuntimeError(f"there is no device {wanted}")
