"""Fake tensors for operators that were seen before: what they look like is remembered, and the tensor is made.

What a `FakeTensorMode` gives depends on what an operator's arguments look like alone: its overload, plain numbers, and
shape, stride, offset, dtype and device of tensors. A network of a thousand equal layers asks the same few dozen
questions thousands of times. The mode answers each once; where what is remembered rebuilds its answer to the last
detail, it answers from then on. Everything else is left to the mode: whatever depends on data, on symbolic sizes, on
constants, or writes into memory that another argument shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

aten = torch.ops.aten
Key = tuple[Any, ...]

PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.layout, torch.memory_format})
NUMBERED = frozenset({"cpu", "meta"})  # devices of which there is one: "cuda" alone means the one that is current
BEYOND = frozenset({aten.as_strided, aten._reshape_alias})  # views that may reach beyond their argument
LIFTING = frozenset({aten.lift_fresh, aten.lift_fresh_copy, aten.lift})  # a constant may be attached
OTHERWISE = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view})
MOST = 1 << 14  # recipes that are kept, a few hundred bytes each
UNSEEN = object()
META = torch.device("meta")


@cache
def is_answerable(operator: Any) -> bool:
    """Whether what an operator gives may be remembered at all."""
    if not isinstance(operator, torch._ops.OpOverload) or operator.namespace != "aten":
        return False
    if OTHERWISE & set(operator.tags) or operator.overloadpacket in BEYOND | LIFTING:
        return False
    return not operator._schema.is_mutable or _writes_first_alone(operator._schema)


def _writes_first_alone(schema: Any) -> bool:
    """Whether an operator writes into its first argument and returns it, as `add_` does."""
    writes = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
    return schema.name.endswith("_") and writes[0] and sum(writes) == 1 and len(schema.returns) == 1


@dataclass(frozen=True, slots=True)
class _Made:
    """A tensor that an operator gives: `of` is the position of the argument whose storage it has, None for its own."""

    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    attributes: dict[str, Any]
    of: int | None

    def tensor(self, args: Sequence[Any]) -> FakeTensor:
        if self.of is None:
            bare = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=META)
        else:
            bare = torch.empty_strided((0,), (1,), dtype=self.dtype, device=META)
            bare.set_(args[self.of].untyped_storage(), self.offset, self.shape, self.stride)
        make: Any = torch.Tensor._make_subclass  # as `FakeTensor.__new__` does
        fake = make(FakeTensor, bare, False, dispatch_device=True, device_for_backend_keys=self.device)
        fake.__dict__.update(self.attributes)
        _guarded(fake)
        return fake  # type: ignore[no-any-return]


def _guarded(fake: FakeTensor) -> None:
    """Let the tensor treat those who ask for its address as the mode's own tensors do."""
    if fake.fake_mode._allow_unsafe_data_ptr_access:
        torch._C._set_warn_deprecated_on_mutable_data_ptr(fake)
    else:
        torch._C._set_throw_on_mutable_data_ptr(fake)


class _Given:
    """The first argument, written in place."""

    def tensor(self, args: Sequence[Any]) -> Any:
        return args[0]


class _Nothing:
    """No tensor: a gradient that nobody asked for."""

    def tensor(self, args: Sequence[Any]) -> None:
        return None


class Fakes:
    """What a `FakeTensorMode` gives, remembered. Must be asked outside of all dispatch modes."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        self.enabled = mode.cache_enabled
        self._recipes: dict[Key, Any] = {}

    def key(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key | None:
        """Return what an operator's outcome depends on; None where it must not be remembered."""
        if not self.enabled or not is_answerable(operator):
            return None
        parts: list[Any] = [operator, torch.get_default_dtype(), torch._C._get_default_device()]
        if not self._described(args, parts):
            return None
        if kwargs:
            parts += kwargs
            if not self._described(kwargs.values(), parts):
                return None
        if operator._schema.is_mutable and _shares(args):
            return None
        return tuple(parts)

    def _described(self, args: Any, parts: list[Any]) -> bool:
        """Add what arguments look like; say whether that is all that there is to them."""
        for arg in args:
            kind = type(arg)
            if kind is FakeTensor:
                if not self._is_plain(arg):
                    return False
                parts += (arg.shape, arg.stride(), arg.storage_offset(), arg.dtype, arg._fake_device)
            elif kind in PLAIN:
                parts += (kind, arg)
            elif kind is list or kind is tuple:
                parts += (kind, len(arg))
                if not self._described(arg, parts):
                    return False
            elif kind is torch.device and (arg.type in NUMBERED or arg.index is not None):
                parts.append(arg)
            else:
                return False
        return True

    def _is_plain(self, x: FakeTensor) -> bool:
        return (
            x.fake_mode is self.mode
            and x.constant is None
            and x.layout is torch.strided
            and not x.dtype.is_complex
            and not x.is_neg()
            and not x.is_inference()
            and not x._has_symbolic_sizes_strides
        )

    def answer(self, key: Key, args: tuple[Any, ...]) -> Any:
        """Return what the mode would give; `UNSEEN` where it was never asked, or must be asked each time."""
        recipe = self._recipes.get(key)
        if recipe is None:
            return UNSEEN
        several, parts = recipe
        return parts[0].tensor(args) if several is None else several([part.tensor(args) for part in parts])

    def learn(self, key: Key, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Remember what the mode gave, if it can be rebuilt to the last detail."""
        if self.key(key[0], args, kwargs) != key:
            return  # the arguments themselves look otherwise now
        if len(self._recipes) >= MOST:
            self._recipes.clear()
        several = type(out) in (list, tuple)
        outs = out if several else [out]
        parts = [_recipe(x, args, key[0]) for x in outs]
        if all(parts) and _are_apart(outs, parts, [*args, *kwargs.values()]):
            self._recipes[key] = (type(out) if several else None, tuple(parts))


def _shares(args: tuple[Any, ...]) -> bool:
    """Whether what is written shares memory with another argument."""
    nested = [x for arg in args[1:] for x in (arg if isinstance(arg, list | tuple) else (arg,))]
    return any(_memory(x) == _memory(args[0]) for x in nested if isinstance(x, torch.Tensor))


def _recipe(out: Any, args: tuple[Any, ...], operator: Any) -> Any:
    """Return how one outcome is made again; None where that would not be the same."""
    if out is None:
        return _Nothing()
    if operator._schema.is_mutable:
        return _Given() if out is args[0] else None
    if type(out) is not FakeTensor or out.requires_grad:
        return None
    of = next((i for i, x in enumerate(args) if isinstance(x, torch.Tensor) and _memory(x) == _memory(out)), None)
    looks = (out.shape, out.stride(), int(out.storage_offset()), out.dtype, out._fake_device)
    recipe = _Made(*looks, dict(out.__dict__), of)
    return recipe if _is_same(recipe.tensor(args), out, of) else None


def _are_apart(outs: Any, parts: list[Any], args: list[Any]) -> bool:
    """Whether tensors that get memory of their own share it with no other, nor with an argument."""
    fresh = [_memory(x) for x, part in zip(outs, parts, strict=True) if isinstance(part, _Made) and part.of is None]
    nested = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else (arg,))]
    taken = {_memory(x) for x in nested if isinstance(x, torch.Tensor)}
    return len(set(fresh)) == len(fresh) and not taken & set(fresh)


def _memory(x: torch.Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _is_same(made: FakeTensor, out: FakeTensor, of: int | None) -> bool:
    """Whether a tensor that was made is what the mode gave, in all that can be asked of it."""
    return (
        made.shape == out.shape
        and made.stride() == out.stride()
        and made.storage_offset() == out.storage_offset()
        and made.dtype == out.dtype
        and made.untyped_storage().nbytes() == out.untyped_storage().nbytes()
        and (_memory(made) == _memory(out)) == (of is not None)
        and torch._C._dispatch_key_set(made) == torch._C._dispatch_key_set(out)
        and made.__dict__ == out.__dict__
    )
