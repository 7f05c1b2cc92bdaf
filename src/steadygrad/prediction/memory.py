"""What is known of each piece of memory, by its storage, so that views and in-place operators need no bookkeeping.

Storage addresses are reused at once; a weak reference to the storage keeps its address from coming back while the
entry stands, without keeping the memory itself.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .patchwork import NOTHING, Patchwork, extent
from .values import Concrete, Draws, Fill, Signal, Unknown, Value


class Memory:
    """Values by storage."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[StorageWeakRef, Value | Patchwork]] = {}
        self._full = 4096

    def put(self, tensor: torch.Tensor, value: Value | Patchwork) -> None:
        """Set what is known of the tensor's storage."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        entry = self._entries.get(key)
        if len(self._entries) > self._full:
            self.forget_expired()
        self._entries[key] = (entry[0] if entry else StorageWeakRef(storage), value)

    def get(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor; of a part of a storage at most approximately."""
        entry = self._entries.get(tensor.untyped_storage()._cdata)
        return _part(entry[1], tensor) if entry else NOTHING

    def whole(self, tensor: torch.Tensor) -> Value | Patchwork:
        """Return what is known of all of the tensor's storage."""
        entry = self._entries.get(tensor.untyped_storage()._cdata)
        return entry[1] if entry else NOTHING

    def own(self, tensor: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return a tensor's numbers as a view of a storage that is nobody else's, and know the storage by it."""
        whole = self.whole(tensor)
        if not isinstance(whole, Concrete) or not whole.own:
            count = tensor.untyped_storage().nbytes() // tensor.element_size()
            flat = torch.zeros(count, dtype=tensor.dtype)
            known = whole.tensor if isinstance(whole, Concrete) else numbers
            flat.as_strided(known.shape, known.stride(), known.storage_offset()).copy_(known)
            whole = Concrete(flat, own=True)
            self.put(tensor, whole)
        return whole.tensor.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def forget_expired(self) -> None:
        """Drop what was known of memory that is gone."""
        self._entries = {key: entry for key, entry in self._entries.items() if not entry[0].expired()}
        self._full = max(4096, 2 * len(self._entries))  # so that looking through all costs a constant an entry


def covers(tensor: torch.Tensor) -> bool:
    """Whether a tensor takes up all of its storage."""
    return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()


def _part(value: Value | Patchwork, tensor: torch.Tensor) -> Value:
    match value:
        case Unknown():
            return value
        case Patchwork():
            return value.known(*extent(tensor))
        case Concrete(tensor=known):
            return replace(value, tensor=known.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()))
        case Draws(values=known) if known.shape[1:] != tensor.shape:
            return _reshaped(value, tensor)
        case Fill() if not covers(tensor):
            return replace(value, mark="approximate")
        case Signal() if not covers(tensor):
            return _units_of(value, tensor)
        case _:
            return value


def _units_of(value: Signal, tensor: torch.Tensor) -> Signal:
    """Some units of a signal: the same moments, but of their own, so that two places never count as one."""
    wave = value.wave
    if wave is not None and wave.source is not None and value.base is None:
        share = tensor.numel() * tensor.element_size() / tensor.untyped_storage().nbytes()
        place = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        wave = replace(wave, source=wave.source.part(place, share))
    return replace(value, wave=wave, mark="approximate")


def _reshaped(value: Draws, tensor: torch.Tensor) -> Value:
    known = value.values
    if known[0].numel() == tensor.numel() and tensor.is_contiguous():
        return replace(value, values=known.reshape(len(known), *tensor.shape))
    stride = (known.stride(0), *tensor.stride())
    if not covers(tensor):
        return replace(value, values=known.as_strided((len(known), *tensor.shape), stride, tensor.storage_offset()))
    return replace(value, values=known.as_strided((len(known), *tensor.shape), stride))
