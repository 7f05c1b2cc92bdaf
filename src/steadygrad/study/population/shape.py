"""Which points can be trained together: those whose arithmetic is the same but for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steadygrad.study.point import Point

# What must agree. Everything else is a number of its own for each network.
SHARED = (
    "data",
    "examples",
    "depth",
    "width",
    "activation",
    "loss",
    "optimizer",
    "batch_size",
    "steps",
    "dtype",
    "curve",
)


def shape_of(point: Point) -> tuple[Any, ...]:
    """Return what points must share to be trained together.

    >>> a, b = (Point(depth=1, width=8, activation="relu", learning_rate=lr) for lr in (0.1, 0.2))
    >>> shape_of(a) == shape_of(b)
    True
    """
    return tuple(getattr(point, name) for name in SHARED)


def check_one_shape(points: Sequence[Point]) -> None:
    """Raise a ValueError unless there are points and all are of one shape."""
    if not points:
        raise ValueError("`points` must hold at least one point, got none.")
    for name in SHARED:
        values = {getattr(point, name) for point in points}
        if len(values) > 1:
            raise ValueError(f"`points` must agree in `{name}`, got {sorted(map(str, values))}.")
