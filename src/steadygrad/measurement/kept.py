"""A block after which an object is as it was: its attributes, their containers, tensors and random generators."""

from __future__ import annotations

import operator
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

# Contents of containers are put back too; what lies deeper is not looked at.
_Entries = tuple[Sequence[Any], Sequence[Any]]

_CONTAINERS = (OrderedDict, dict, list, set, deque)
_PLAIN = frozenset((bool, int, float, str, type(None), tuple, type(lambda: None)))


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
    contents: list[tuple[Any, _Entries]] = []
    empty: list[Any] = []
    with ExitStack() as stack:
        stack.callback(_put_back, contents)
        stack.callback(_empty_again, empty)
        for attributes in (getattr(holder, "__dict__", None) for holder in holders):
            if isinstance(attributes, dict):
                contents.append((attributes, _entries(attributes)))
                for value in attributes.values():
                    if (kind := type(value)) in _PLAIN:
                        continue
                    if kind not in _CONTAINERS and not isinstance(value, _CONTAINERS):
                        _keep(value, stack, tensors=tensors)
                    elif value:
                        contents.append((value, _entries(value)))
                    else:
                        empty.append(value)
        yield


def _keep(value: Any, stack: ExitStack, *, tensors: bool) -> None:
    match value:
        case torch.Tensor():
            for restore in _tensor(value) if tensors else ():
                stack.callback(restore)
        case torch.Generator():
            stack.callback(_generator(value))
        case random.Random():
            stack.callback(_python(value))
        case np.random.Generator() | np.random.RandomState():
            stack.callback(_numpy(value))


def _entries(container: Any) -> _Entries:
    """A container's own entries, in their order: keys apart from values, to make few objects of many."""
    return (list(container), list(container.values())) if isinstance(container, dict) else (list(container), ())


def _empty_again(containers: list[Any]) -> None:
    for container in filter(None, containers):
        container.clear()


def _put_back(contents: list[tuple[Any, _Entries]]) -> None:
    """Give each container its entries again; it stays the object that it is."""
    with ExitStack() as stack:
        for container, before in contents:
            if not _holds(container, before):
                stack.callback(_refill, container, before)


def _holds(container: Any, before: _Entries) -> bool:
    entries, values = before
    if isinstance(container, dict):  # keys that are equal are the same key
        return list(container) == entries and all(map(operator.is_, container.values(), values))
    return len(container) == len(entries) and all(map(operator.is_, container, entries))


def _refill(container: Any, before: _Entries) -> None:
    container.clear()
    entries, values = before
    if isinstance(container, dict):
        container.update(zip(entries, values, strict=True))
    else:
        (container.extend if isinstance(container, list | deque) else container.update)(entries)


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
