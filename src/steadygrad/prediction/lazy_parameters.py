"""Parameters that get their shape from the first input (torch.nn.LazyLinear and its kin), on fake tensors.

torch makes them as a subclass of its own, which a fake tensor cannot be cast to; here they are fake tensors that get
that subclass's methods, and lose them when they are materialised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter


class _Unshaped:
    """What both kinds do differently as fake tensors, which are asked for their shape all the time."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    shape = torch.Tensor.shape

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        self.__class__ = FakeTensor
        self.data = torch.empty(shape, device=device or self.device, dtype=dtype or self.dtype)


class _LazyParameter(_Unshaped, UninitializedParameter, FakeTensor):  # type: ignore[misc]
    pass


class _LazyBuffer(_Unshaped, UninitializedBuffer, FakeTensor):  # type: ignore[misc]
    pass


_NEW: dict[type, Any] = {
    UninitializedParameter: UninitializedParameter.__new__,
    UninitializedBuffer: UninitializedBuffer.__new__,
}


def _parameter(cls: type, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
    empty: Any = torch.empty(0, device=device, dtype=dtype)
    if type(empty) is not FakeTensor:
        return _NEW[UninitializedParameter](cls, requires_grad, device, dtype)
    made: Any = torch.nn.Parameter(empty, requires_grad)
    made.__class__ = _LazyParameter
    return made


def _buffer(
    cls: type, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
) -> Any:
    empty: Any = torch.empty(0, device=device, dtype=dtype)
    if type(empty) is not FakeTensor:
        return _NEW[UninitializedBuffer](cls, requires_grad, device, dtype, persistent)
    made: Any = empty.requires_grad_(requires_grad)
    made.persistent, made._is_buffer = persistent, True
    made.__class__ = _LazyBuffer
    return made


@contextlib.contextmanager
def fake_lazy_parameters() -> Iterator[None]:
    """Let lazy modules be built on fake tensors; torch's classes are as they were at the end."""
    UninitializedParameter.__new__ = _parameter  # type: ignore[method-assign]
    UninitializedBuffer.__new__ = _buffer  # type: ignore[method-assign]
    try:
        yield
    finally:
        UninitializedParameter.__new__ = _NEW[UninitializedParameter]  # type: ignore[method-assign]
        UninitializedBuffer.__new__ = _NEW[UninitializedBuffer]  # type: ignore[method-assign]
