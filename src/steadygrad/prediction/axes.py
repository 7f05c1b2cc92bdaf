"""What the axes of a tensor stand for: examples, positions, or features, whatever views are taken of its memory.

A storage has axes, each with a role, a size and a stride; the dimensions of a view are matched to them by their
strides, so transposes, splits into heads and back, and flattened dimensions need no rules.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

import torch

EXAMPLE, FEATURE, SPREAD_OUT = -1, -2, -3  # SPREAD_OUT: one entry that stands at all places of a dimension


class Axis(NamedTuple):
    """An axis of a storage; `role` is EXAMPLE, FEATURE, or which of the positions' axes it is, 0 and up."""

    role: int
    size: int
    stride: int


Axes: TypeAlias = tuple[Axis, ...]
Dimension: TypeAlias = tuple[Axis, ...]
"""What a dimension of a view runs over, fastest first; strides are counted in steps of the dimension."""


def default(entries: int, examples: int) -> Axes:
    """Return the axes of a storage whose examples stand one after the other."""
    features = max(entries // examples, 1)
    return (Axis(FEATURE, features, 1), Axis(EXAMPLE, examples, features))


@lru_cache(maxsize=4096)
def dimensions(axes: Axes, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[Dimension, ...]:
    """Return what each dimension of a view runs over.

    >>> axes = default(24, 2)
    >>> dimensions(axes, (3, 2, 4), (4, 12, 1))
    ((Axis(role=-2, size=3, stride=1),), (Axis(role=-1, size=2, stride=1),), (Axis(role=-2, size=4, stride=1),))
    """
    return tuple(_dimension(axes, size, stride) for size, stride in zip(shape, strides, strict=True))


def _dimension(axes: Axes, size: int, stride: int) -> Dimension:
    if size == 1:
        return ()
    if stride == 0:
        return (Axis(SPREAD_OUT, size, 1),)
    found, step = [], 1
    for axis in sorted(axes, key=lambda a: a.stride):
        if size > 1 and axis.stride <= stride < axis.stride * axis.size:
            within = -(-axis.size // (stride // axis.stride))
            taken = min(size, within)
            found.append(Axis(axis.role, taken, step))
            size, step, stride = -(-size // taken), step * taken, axis.stride * axis.size
    return tuple(found)


@lru_cache(maxsize=4096)
def laid(dims: tuple[Dimension, ...], strides: tuple[int, ...]) -> Axes:
    """Return the axes of a storage that a tensor with these dimensions and strides takes up.

    >>> laid(((Axis(EXAMPLE, 2, 1), ), (Axis(FEATURE, 3, 1), )), (3, 1))
    (Axis(role=-1, size=2, stride=3), Axis(role=-2, size=3, stride=1))
    """
    return tuple(
        Axis(axis.role, axis.size, axis.stride * stride)
        for dim, stride in zip(dims, strides, strict=True)
        for axis in dim
        if axis.role != SPREAD_OUT
    )


def sizes(dims: tuple[Dimension, ...]) -> tuple[int, ...]:
    """Return the sizes of the positions' axes, by their roles."""
    found: dict[int, int] = {}
    for dim in dims:
        for axis in dim:
            if axis.role >= 0:
                found[axis.role] = found.get(axis.role, 1) * axis.size
    return tuple(found[role] for role in sorted(found))


def roles(dim: Dimension) -> set[int]:
    """Return the roles that a dimension runs over."""
    return {axis.role for axis in dim}


def renamed(dims: tuple[Dimension, ...], names: dict[int, int]) -> tuple[Dimension, ...]:
    """Return the dimensions with other numbers for their positions' axes."""
    return tuple(tuple(axis._replace(role=names.get(axis.role, axis.role)) for axis in dim) for dim in dims)


def entries(tensor: torch.Tensor) -> int:
    """Return how many entries a tensor's storage holds."""
    return int(tensor.untyped_storage().nbytes()) // tensor.element_size()
