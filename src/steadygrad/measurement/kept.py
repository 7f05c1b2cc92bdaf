"""A block after which an object is as it was: its attributes, their containers, tensors and random generators."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

# Contents of containers are put back too; what lies deeper is not looked at.


@contextmanager
def attributes_kept(*holders: Any, tensors: bool = True) -> Iterator[None]:
    """Put back each object's attributes, the contents of their containers, and the states of generators among them.

    A counter counts on from where it stood, a module that was swapped or added is gone, a list is as long as it was.
    Tensors that are attributes of their own, neither parameters nor buffers, get their values back.

    Args:
        holders: objects; what has no attributes, or is None, is passed over.
        tensors: whether to copy tensors, or only to put back which ones there are.

    >>> class Counts:
    ...     def __init__(self):
    ...         self.calls, self.seen = 0, []
    >>> counts = Counts()
    >>> with attributes_kept(counts):
    ...     counts.calls += 1; counts.seen.append(2); counts.new = True
    >>> vars(counts)
    {'calls': 0, 'seen': []}
    """
    with ExitStack() as stack:
        for holder in holders:
            if isinstance(getattr(holder, "__dict__", None), dict):
                for restore in _restorers(vars(holder), tensors=tensors):
                    stack.callback(restore)
        yield


def _restorers(attributes: dict[str, Any], *, tensors: bool) -> Iterator[Callable[[], None]]:
    """What puts the attributes back; called in the reverse of this order."""
    for value in list(attributes.values()):
        match value:
            case torch.Tensor() if tensors:
                yield from _tensor(value)
            case torch.Generator():
                yield _generator(value)
            case random.Random():
                yield _python(value)
            case np.random.Generator() | np.random.RandomState():
                yield _numpy(value)
            case dict() | list() | set() | deque():
                yield _contents(value)
    yield _contents(attributes)


def _contents(container: Any) -> Callable[[], None]:
    """A container's own entries, in their order; it stays the object that it is."""
    before = list(container.items()) if isinstance(container, dict) else list(container)

    def restore() -> None:
        now = list(container.items()) if isinstance(container, dict) else list(container)
        if len(now) == len(before) and all(_same(a, b) for a, b in zip(now, before, strict=True)):
            return
        container.clear()
        (container.extend if isinstance(container, list | deque) else container.update)(before)

    return restore


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == 2:
        return a[0] is b[0] and a[1] is b[1]
    return a is b


def _tensor(tensor: torch.Tensor) -> Iterator[Callable[[], None]]:
    """A tensor's values, where nothing else keeps them and it has memory of its own."""
    if tensor.requires_grad or not tensor.is_leaf or tensor.layout != torch.strided or tensor.is_meta:
        return
    before = tensor.detach().clone()

    def restore() -> None:
        with torch.no_grad():
            tensor.copy_(before)

    yield restore


def _generator(generator: torch.Generator) -> Callable[[], None]:
    state = generator.get_state()
    return lambda: _discard(generator.set_state(state))


def _python(generator: random.Random) -> Callable[[], None]:
    state = generator.getstate()
    return lambda: generator.setstate(state)


def _numpy(generator: np.random.Generator | np.random.RandomState) -> Callable[[], None]:
    if isinstance(generator, np.random.RandomState):
        old = generator.get_state()
        return lambda: generator.set_state(old)
    bits, state = generator.bit_generator, generator.bit_generator.state

    def restore() -> None:
        bits.state = state

    return restore


def _discard(_: object) -> None:
    return None
