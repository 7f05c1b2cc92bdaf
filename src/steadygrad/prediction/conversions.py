"""Conversions of whole modules, such as `.bfloat16()` or `.to(dtype)`, on fake parameters."""

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
