"""What is known of each piece of memory, by its storage, so that views and in-place operators need no bookkeeping.

Storage addresses are reused at once; a weak reference to the storage keeps its address from coming back while the
entry stands, without keeping the memory itself.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from . import each_pair, unit_parts
from .axes import EXAMPLE, FEATURE, Axes, Dimension, default, dimensions, entries
from .field import Field
from .kinship import Part
from .patchwork import NOTHING, Patchwork, extent, is_dense
from .steps import at_step
from .values import Concrete, Draws, Fill, Signal, Unknown, Value

IN_PARTS = Unknown("memory written in part")
SOME = Unknown("a tensor that holds only some of the examples")
Place: TypeAlias = tuple[int, tuple[tuple[int, int], ...]]


class Memory:
    """Values by storage, of a batch of so many examples."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self._entries: dict[int, tuple[StorageWeakRef, Value | Patchwork]] = {}
        self._firsts: dict[int, int] = {}
        self._full = 4096
        self._for_now: dict[int, Signal] = {}
        self._parts: dict[int, tuple[StorageWeakRef, dict[Place, Signal]]] = {}
        self._views: dict[int, tuple[StorageWeakRef, Value | Patchwork, dict[Hashable, Value]]] = {}

    def put(self, tensor: torch.Tensor, value: Value | Patchwork) -> None:
        """Set what is known of the tensor's storage."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        entry = self._entries.get(key)
        if isinstance(value, Draws) and _is_turned(value, tensor):
            value = _laid_as(value, tensor)
        if len(self._entries) > self._full:
            self.forget_expired()
        if key in self._parts and covers(tensor):
            del self._parts[key]
        if entry is None or entry[0].expired():
            entry, self._firsts[key] = None, len(tensor) if tensor.dim() else 1
        self._entries[key] = (entry[0] if entry else StorageWeakRef(storage), value)

    def put_part(self, tensor: torch.Tensor, value: Signal) -> None:
        """Set what is known of a part of a storage, as of a gate that a function was applied to in place."""
        key = tensor.untyped_storage()._cdata
        self.put(tensor, self._entries[key][1])
        parts = self._parts.setdefault(key, (self._entries[key][0], {}))[1]
        place = _place(tensor)
        parts.pop(place, None)  # the latest stands last
        parts[place] = value

    @contextlib.contextmanager
    def knowing(self, values: dict[int, Signal]) -> Iterator[None]:
        """Know tensors, by their ids, by these values for a moment."""
        self._for_now, before = values, self._for_now
        try:
            yield
        finally:
            self._for_now = before

    def get(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor; of a part of a storage at most approximately."""
        if self._for_now and id(tensor) in self._for_now:
            return self._for_now[id(tensor)]
        key = tensor.untyped_storage()._cdata
        entry = self._entries.get(key)
        if key in self._parts:
            found = self._of_parts(key, tensor)
            if found is not None:
                return found
        if entry is None:
            return NOTHING
        return self._known(key, entry, tensor)

    def before_parts(self, tensor: torch.Tensor) -> Value:
        """Return what is known of a tensor, what was written into parts of its storage left away."""
        key = tensor.untyped_storage()._cdata
        entry = self._entries.get(key)
        return NOTHING if entry is None else self._known(key, entry, tensor)

    def _known(self, key: int, entry: tuple[StorageWeakRef, Value | Patchwork], tensor: torch.Tensor) -> Value:
        if isinstance(entry[1], Signal):
            return entry[1] if covers(tensor) else self._view(key, entry, tensor)
        return part_of(entry[1], tensor, self.examples)

    def _view(self, key: int, entry: tuple[StorageWeakRef, Value | Patchwork], tensor: torch.Tensor) -> Value:
        """Return a part of a signal, the same one wherever it is met: x - tanh(x) goes back through one gradient."""
        known = self._views.get(key)
        if known is None or known[1] is not entry[1]:
            known = self._views[key] = (entry[0], entry[1], {})
        place = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
        if place not in known[2]:
            known[2][place] = part_of(entry[1], tensor, self.examples)
        return known[2][place]

    def _of_parts(self, key: int, tensor: torch.Tensor) -> Value | None:
        """Return what is known of a part that was written; of another one that it was written in parts."""
        reference, parts = self._parts[key]
        if reference.expired():
            del self._parts[key]
            return None
        place = _place(tensor)
        if place in parts:
            return parts[place]
        return IN_PARTS

    def parts(self, tensor: torch.Tensor) -> tuple[list[Signal], list[float]]:
        """Return what was written into parts of the tensor's storage, and the share of its entries that each is.

        They come in the order in which they were written, so the latest holds what several wrote.
        """
        parts = self._parts[tensor.untyped_storage()._cdata][1]
        last = torch.zeros(entries(tensor), dtype=torch.int32)
        for number, (start, steps) in enumerate(parts, 1):
            last.as_strided([n for _, n in steps], [s for s, _ in steps], start).fill_(number)
        held = last.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        counts = torch.bincount(held.reshape(-1), minlength=len(parts) + 1)
        return list(parts.values()), [float(n) / tensor.numel() for n in counts[1:]]

    def whole(self, tensor: torch.Tensor) -> Value | Patchwork:
        """Return what is known of all of the tensor's storage."""
        entry = self._entries.get(tensor.untyped_storage()._cdata)
        return entry[1] if entry else NOTHING

    def is_fixed(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor's storage was no batch of examples, as far as its first size tells."""
        return self._firsts.get(tensor.untyped_storage()._cdata) != self.examples

    def own(self, tensor: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return a tensor's numbers as a view of a storage that is nobody else's, and know the storage by it."""
        whole = self.whole(tensor)
        if not isinstance(whole, Concrete) or not whole.own:
            count = tensor.untyped_storage().nbytes() // tensor.element_size()
            flat = torch.zeros(count, dtype=tensor.dtype)
            known = whole.tensor if isinstance(whole, Concrete) else numbers
            flat.as_strided(known.shape, known.stride(), known.storage_offset()).copy_(known)
            fixed = whole.fixed if isinstance(whole, Concrete) else self.is_fixed(tensor)
            whole = Concrete(flat, own=True, fixed=fixed)
            self.put(tensor, whole)
        return whole.tensor.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def forget_expired(self) -> None:
        """Drop what was known of memory that is gone."""
        self._entries = {key: entry for key, entry in self._entries.items() if not entry[0].expired()}
        self._parts = {key: entry for key, entry in self._parts.items() if not entry[0].expired()}
        self._views = {key: entry for key, entry in self._views.items() if not entry[0].expired()}
        self._firsts = {key: self._firsts[key] for key in self._entries}
        self._full = max(4096, 2 * len(self._entries))  # so that looking through all costs a constant an entry


def _place(tensor: torch.Tensor) -> Place:
    """Return where a view lies in its storage, whatever the order of its dimensions."""
    steps = sorted((int(s), int(n)) for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n > 1)
    return int(tensor.storage_offset()), tuple(steps)


def covers(tensor: torch.Tensor) -> bool:
    """Whether a tensor takes up all of its storage."""
    return tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()


def part_of(value: Value | Patchwork, tensor: torch.Tensor, examples: int) -> Value:
    """Return what is known of a view of memory of which this is known."""
    match value:
        case Unknown():
            return value
        case Patchwork():
            return value.known(*extent(tensor))
        case Concrete(tensor=known):
            leading = len(known) if known.dim() else None
            part = known.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
            return replace(value, tensor=part, leading=leading)
        case Draws(values=known) if known.shape[1:] != tensor.shape or _is_turned(value, tensor):
            return _reshaped(value, tensor)
        case Fill() if not covers(tensor):
            return replace(value, mark="approximate")
        case Signal() if not covers(tensor):
            return _part_of_signal(value, tensor, examples)
        case _:
            return value


def _part_of_signal(value: Signal, tensor: torch.Tensor, examples: int) -> Value:
    """Some units of a signal, or some of its positions: the same moments, but of units of their own.

    So two places never count as one; what one unit at two positions has in common is not followed.
    """
    axes = value.axes or default(entries(tensor), examples)
    dims = dimensions(axes, tuple(tensor.shape), tensor.stride())
    if _size(dims, EXAMPLE) < examples:
        return SOME
    known, whole, offset = value.moments, axes, int(tensor.storage_offset())
    value = _units(value, axes, dims, offset)
    is_base = value.base is value.moments
    value, axes = _positions(value, axes, dims, offset)
    origin = Part(known, *_which(whole, dims, offset))
    moments = replace(value.moments, origin=origin)  # of its own: what is known by its moments is another signal
    wave, field = value.wave, moments.field
    if wave is not None and wave.source is not None and value.base is None:
        share = _size(dims, FEATURE) / max(math.prod(a.size for a in axes if a.role == FEATURE), 1)
        place = (offset, tuple(tensor.shape), tensor.stride())
        wave = replace(wave, source=wave.source.part(place, share, field and wave.source.field and field))
        assert wave.source is not None
        root = value.wave.source.root if value.wave and value.wave.source else None
        wave.source.root = root and replace(root, origin=replace(origin, whole=root))
    base = moments if is_base else value.base
    if wave is not None and len(places := origin.places) == 1 and field is None and value.base is not None:
        wave, base = at_step(wave, moments, places[0]) or (wave, base)
    whole_units = all(_size(dims, r) == _size((whole,), r) for r in {a.role for a in whole} - {FEATURE})
    return replace(
        value,
        moments=moments,
        base=base,
        wave=wave,
        mark="approximate",
        axes=axes,
        parts=None,
        balanced=value.balanced and whole_units,
        balance=value.balance if whole_units else None,
    )


def _which(axes: Axes, dims: tuple[Dimension, ...], offset: int) -> tuple[Hashable, tuple[int, ...]]:
    """Return which features a view holds, and where it starts along each of the positions' axes."""
    starts = {a: offset // a.stride % a.size for a in axes if a.role != EXAMPLE}
    features = tuple((a.size, start) for a, start in starts.items() if a.role == FEATURE)
    places = tuple(start for a, start in sorted(starts.items()) if a.role >= 0)
    return (features, _size(dims, FEATURE)), places


def _size(dims: tuple[Dimension, ...], role: int) -> int:
    return math.prod(axis.size for dim in dims for axis in dim if axis.role == role)


def _units(value: Signal, axes: Axes, dims: tuple[Dimension, ...], offset: int) -> Signal:
    """Return a gradient of those units that the dimensions run over, where units are not alike.

    Of several parts it is one of its own, of one part what that is: a function of the part's own source.
    """
    parts, m = value.unit_parts, value.moments
    held = [a for a in axes if a.role == FEATURE and parts and a.size == unit_parts.count(parts)]
    if parts is None or value.base is None or len(held) != 1:
        return replace(value, unit_parts=None)
    others = math.prod(a.size for a in axes if a.role == FEATURE) // held[0].size
    first, size = offset // held[0].stride % held[0].size, _size(dims, FEATURE) // others
    level, left = unit_parts.within(parts, first, size)
    own = unit_parts.at(parts, first).signal
    if left is None and own is not None:
        return replace(value, moments=own.moments, wave=own.wave, base=own.base)
    m = replace(m, mean=m.mean * level**0.5, q=m.q * level, d=m.d * level)
    return replace(value, moments=m, wave=None, base=m, unit_parts=left)


def _positions(value: Signal, axes: Axes, dims: tuple[Dimension, ...], offset: int) -> tuple[Signal, Axes]:
    """Return the signal at those positions that the dimensions run over, and the axes that are left."""
    present = sorted({axis.role for dim in dims for axis in dim if axis.role >= 0})
    names = {role: i for i, role in enumerate(present)}
    left = tuple(a._replace(role=names.get(a.role, a.role)) for a in axes if a.role < 0 or a.role in names)
    field = value.moments.field
    if field is None:
        return value, left
    here = [_slice(axes, role, _size(dims, role), offset) for role in range(len(field.sizes))]
    share, level = _cut(field, here, present)
    apart = level * _apart(field, here)
    moments = replace(value.moments, q=value.moments.q * level, d=value.moments.d * apart, field=share)
    return replace(value, moments=moments), left


def _slice(axes: Axes, role: int, size: int, offset: int) -> slice:
    """Return which places of a positions' axis a view takes, from where it starts; every other one counts as near."""
    first = next((offset // a.stride % a.size for a in axes if a.role == role), 0)
    return slice(first, first + size)


def _apart(field: Field, here: list[slice]) -> float:
    """Return how far examples are apart at some places, relative to their size, as a part of what all places are."""
    if field.products is None:
        return 1.0
    own, other = np.diagonal(field.products, axis1=1, axis2=2)
    whole, left = 1 - other.sum() / max(own.sum(), 1e-300), 1 - other[here[0]].sum() / max(own[here[0]].sum(), 1e-300)
    return max(float(left / whole), 0.0) if whole > 0 else 1.0


def _cut(field: Field, here: list[slice], present: list[int]) -> tuple[Field | None, float]:
    share = field.share[tuple(here)]
    level = float(share.mean()) if share.size else 1.0
    lags = tuple(slice(0, s.stop - s.start) for s in here)
    if share.shape != tuple(s.stop - s.start for s in here):
        return None, 1.0
    if not level > 0:
        return None, 0.0  # places that nothing came back to
    if share.size == field.count:
        return field.kept(tuple(present)), 1.0
    cut = Field(share / level, field.within[lags], field.across[lags], field.varying[lags], given=field.given)
    if field.products is not None:
        cut = each_pair.told(cut, field.products[:, here[0], here[0]] / level)
    return cut.kept(tuple(present)), level


def _is_turned(value: Draws, tensor: torch.Tensor) -> bool:
    """Whether a tensor that takes up all of its memory has samples of its shape in another order, as a transpose."""
    if value.values.shape[1:] != tensor.shape or not is_dense(tensor) or not covers(tensor):
        return False
    steps = zip(tensor.shape, value.values.stride()[1:], tensor.stride(), strict=True)
    return any(n > 1 and a != b for n, a, b in steps)


def _laid_as(value: Draws, tensor: torch.Tensor) -> Draws:
    """Return samples in the order that a tensor has in memory, so that a view of it is one of them."""
    known = value.values
    held = torch.empty_strided(known.shape, (tensor.numel(), *tensor.stride()), dtype=known.dtype)
    return replace(value, values=held.copy_(known))


def _reshaped(value: Draws, tensor: torch.Tensor) -> Value:
    known = value.values
    if known[0].numel() == tensor.numel() and tensor.is_contiguous() and known.is_contiguous():
        return replace(value, values=known.reshape(len(known), *tensor.shape))
    stride = (known.stride(0), *tensor.stride())
    if not covers(tensor):
        return replace(value, values=known.as_strided((len(known), *tensor.shape), stride, tensor.storage_offset()))
    return replace(value, values=known.as_strided((len(known), *tensor.shape), stride))
