"""Random numbers that are no operator's: those of Python's own `random`, and of NumPy's global generator.

What they decide cannot be followed: one run shows one outcome. That they were drawn from is seen by their states.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np

NAMES = ("Python's `random`", "NumPy's global generator")


def states() -> tuple[object, object]:
    """Return something that is another one after each draw from Python's generator, or from NumPy's."""
    mine: dict[str, object] = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = mine["state"]
    assert isinstance(inner, dict)
    return random.getstate(), (inner["pos"], int(inner["key"][0]), mine["has_gauss"])


def drawn_from(before: tuple[object, object], after: tuple[object, object]) -> list[str]:
    """Return the names of the generators whose states differ.

    >>> before = states()
    >>> _ = random.random()
    >>> drawn_from(before, states())
    ["Python's `random`"]
    """
    return [name for name, one, other in zip(NAMES, before, after, strict=True) if one != other]


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """Let both generators be as they were at the end."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
