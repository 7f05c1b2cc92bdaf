"""What is known of each piece of memory, by its storage, so that views and in-place operators need no bookkeeping.

Storage addresses are reused at once; a weak reference to the storage keeps its address from coming back while the
entry stands, without keeping the memory itself.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .values import Concrete, Draws, Fill, Signal, Unknown, Value

NOTHING = Unknown("memory that nothing filled")


class Memory:
    """Values by storage."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[StorageWeakRef, Value]] = {}

    def put(self, tensor: torch.Tensor, value: Value) -> None:
        """Set what is known of the tensor's storage."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        entry = self._entries.get(key)
        self._entries[key] = (entry[0] if entry else StorageWeakRef(storage), value)

    def get(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor; of a part of a storage at most approximately."""
        entry = self._entries.get(tensor.untyped_storage()._cdata)
        return _part(entry[1], tensor) if entry else NOTHING

    def forget_expired(self) -> None:
        """Drop what was known of memory that is gone."""
        self._entries = {key: entry for key, entry in self._entries.items() if not entry[0].expired()}


def covers(tensor: torch.Tensor) -> bool:
    """Whether a tensor takes up all of its storage."""
    return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()


def _part(value: Value, tensor: torch.Tensor) -> Value:
    match value:
        case Unknown():
            return value
        case Concrete(tensor=known):
            return Concrete(known.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()))
        case Draws(values=known) if known.shape[1:] != tensor.shape:
            return _reshaped(value, tensor)
        case Fill() | Signal() if not covers(tensor):
            return replace(value, mark="approximate")
        case _:
            return value


def _reshaped(value: Draws, tensor: torch.Tensor) -> Value:
    known = value.values
    if known[0].numel() == tensor.numel() and tensor.is_contiguous():
        return replace(value, values=known.reshape(len(known), *tensor.shape))
    stride = (known.stride(0), *tensor.stride())
    if not covers(tensor):
        return replace(value, values=known.as_strided((len(known), *tensor.shape), stride, tensor.storage_offset()))
    return replace(value, values=known.as_strided((len(known), *tensor.shape), stride))
