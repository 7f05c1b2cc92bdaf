"""What is known of a storage after a part of it was written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from . import demands
from .draws import shortened
from .memory import covers
from .patchwork import MOST, NOTHING, Patchwork, extent, is_dense
from .values import Concrete, Draws, Fill, Signal, Unknown, Value

if TYPE_CHECKING:
    from .interpreter import Interpreter


def write(run: Interpreter, tensor: torch.Tensor, value: Value) -> None:
    """Know a tensor by a value that was written into it; the rest of its storage stays as it was."""
    if covers(tensor):
        run.memory.put(tensor, value)
        return
    if isinstance(value, Signal):
        run.memory.put_part(tensor, value)
        return
    whole = run.memory.whole(tensor)
    if isinstance(whole, Draws) and (isinstance(value, Draws) or _is_number(value)):
        run.memory.put(tensor, _into_samples(run, whole, value, tensor))
        return
    if isinstance(whole, Signal) and isinstance(value, Fill):
        run.memory.put_part(tensor, _same_for_all(run, value))
        return
    if isinstance(value, Concrete) and isinstance(whole, Concrete) and value.own and whole.own:
        if whole.fixed and not value.fixed:
            run.memory.put(tensor, replace(whole, fixed=False))
        return  # it was computed in place
    if not run.constructing and _is_number(whole) and _is_number(value) and _drawn(run, whole, value, tensor):
        return  # a mask is written in parts, and each of its numbers counts
    patched = _patchwork(whole, value, tensor)
    if patched is not None and len(patched.parts) <= MOST:
        run.memory.put(tensor, patched)
    elif not _drawn(run, whole, value, tensor):
        run.memory.put(tensor, value if isinstance(value, Unknown) else _mixed(patched))


def _into_samples(run: Interpreter, whole: Draws, value: Value, tensor: torch.Tensor) -> Value:
    """Return samples of a storage into which numbers, or samples, were written, as into the diagonal of a matrix."""
    count = min(len(whole.values), len(value.values)) if isinstance(value, Draws) else len(whole.values)
    held = shortened(whole, count)
    values = held.values.clone()
    part = values.as_strided((count, *tensor.shape), (values.stride(0), *tensor.stride()), tensor.storage_offset())
    match value:
        case Draws():
            part.copy_(shortened(value, count).values)
        case Fill(mean=number):
            part.fill_(number)
        case Concrete(tensor=numbers):
            part.copy_(numbers)
    return replace(held, values=values)


def _patchwork(whole: Value | Patchwork, value: Value, tensor: torch.Tensor) -> Patchwork | None:
    """Return parts filled apart, where a fill was written on end; None for anything else."""
    if not isinstance(value, Fill) or not is_dense(tensor):
        return None
    if isinstance(whole, Unknown | Fill):
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        whole = Patchwork(whole if isinstance(whole, Fill) else None, count)
    return whole.patched(*extent(tensor), value) if isinstance(whole, Patchwork) else None


def settle(run: Interpreter, tensor: torch.Tensor) -> None:
    """Know a storage that numbers were written into in parts by all of them, as of a mask that a module keeps."""
    whole, count = run.memory.whole(tensor), tensor.untyped_storage().nbytes() // tensor.element_size()
    if isinstance(whole, Patchwork) and whole.is_number and count <= demands.LARGEST:
        numbers = _numbers(run, whole, torch.empty(count, dtype=tensor.dtype))
        run.memory.put(tensor, Concrete(numbers, own=True, fixed=run.memory.is_fixed(tensor)))


def _drawn(run: Interpreter, whole: Value | Patchwork, value: Value, tensor: torch.Tensor) -> bool:
    """Write numbers into numbers, a fill's drawn first; say whether that was possible."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    known = isinstance(whole, Concrete | Fill | Patchwork) or whole == NOTHING
    drawn = run.constructing or (_is_number(whole) and _is_number(value))
    if not isinstance(value, Concrete | Fill) or not known or not drawn or count > demands.LARGEST:
        return False
    if not isinstance(whole, Concrete):
        numbers = _numbers(run, whole, torch.empty(count, dtype=tensor.dtype))
        run.memory.put(tensor, Concrete(numbers, own=True, fixed=run.memory.is_fixed(tensor)))
    own = run.memory.own(tensor, torch.empty(0))
    own.copy_(run.drawn.numbers(value, tensor) if isinstance(value, Fill) else value.tensor)
    return True


def _same_for_all(run: Interpreter, value: Fill) -> Signal:
    from .operators.positions import parameter

    return parameter(run, value)


def _is_number(value: Value | Patchwork) -> bool:
    return isinstance(value, Concrete) or (isinstance(value, Fill) and value.variance == 0)


def _numbers(run: Interpreter, whole: Value | Patchwork, flat: torch.Tensor) -> torch.Tensor:
    """Numbers for a storage; NaN where nothing filled it."""
    first = whole.first if isinstance(whole, Patchwork) else whole
    numbers = run.drawn.numbers(first, flat) if isinstance(first, Fill) else flat.fill_(math.nan)
    for start, stop, fill in whole.parts if isinstance(whole, Patchwork) else ():
        numbers[start:stop] = run.drawn.numbers(fill, flat[start:stop])
    return numbers


def _mixed(patched: Patchwork | None) -> Value:
    return patched.known(0, patched.count) if patched is not None else Unknown("memory written in part")
