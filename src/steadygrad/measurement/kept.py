"""A block after which an object is as it was: its attributes, their containers, tensors and random generators."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, compress, islice
from operator import is_, not_
from typing import Any

import numpy as np
import torch

_CONTAINERS = frozenset((OrderedDict, dict, list, set, deque))
_PLAIN = frozenset((bool, int, float, str, type(None), tuple, type(lambda: None)))
_USUAL = _CONTAINERS | _PLAIN


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
    attributes = [d for d in (getattr(holder, "__dict__", None) for holder in holders) if isinstance(d, dict)]
    containers, others = _sorted(list(chain.from_iterable(map(dict.values, attributes))))
    with ExitStack() as stack:
        for value in others:
            _keep(value, stack, tensors=tensors)
        filled = list(filter(None, containers))
        stack.callback(_Contents([*attributes, *filled]).put_back)
        stack.callback(_empty_again, containers, filled)
        yield


def _sorted(values: list[Any]) -> tuple[list[Any], list[Any]]:
    """The containers among attributes, and what is neither a container nor plain: by type, to look at few of many."""
    kinds = list(map(type, values))
    containers = list(compress(values, map(_CONTAINERS.__contains__, kinds)))
    if _USUAL.issuperset(kinds):
        return containers, []
    others = list(compress(values, map(not_, map(_USUAL.__contains__, kinds))))
    own = [isinstance(value, tuple(_CONTAINERS)) for value in others]  # of classes derived from them
    return [*containers, *compress(others, own)], list(compress(others, map(not_, own)))


class _Contents:
    """What containers hold, in its order; what lies deeper is not looked at.

    It stands in two lists, so that in the end one look finds whether anything has changed: a model has hundreds of
    containers, and going from one to the next takes longer than looking at what they hold.
    """

    def __init__(self, containers: Sequence[Any]) -> None:
        self._containers = containers
        self._lengths = list(map(len, containers))
        self._entries, self._values = _held(containers)

    def put_back(self) -> None:
        """Give each container that has changed its entries again; it stays the object that it is."""
        lengths, (entries, values) = list(map(len, self._containers)), _held(self._containers)
        if lengths == self._lengths and _are(entries, self._entries) and _are(values, self._values):
            return
        left, left_values = iter(self._entries), iter(self._values)
        with ExitStack() as stack:
            for container, length in zip(self._containers, self._lengths, strict=True):
                before = list(islice(left, length))
                values = list(islice(left_values, length if isinstance(container, dict) else 0))
                now = _held((container,))
                if not (_are(now[0], before) and _are(now[1], values)):
                    stack.callback(_refill, container, before, values)


def _held(containers: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Keys, or entries where there are no keys; and values: apart, to make few objects of many."""
    values = (container.values() for container in containers if isinstance(container, dict))
    return list(chain.from_iterable(containers)), list(chain.from_iterable(values))


def _are(these: Sequence[Any], those: Sequence[Any]) -> bool:
    """Whether they are the same objects."""
    return len(these) == len(those) and all(map(is_, these, those))


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


def _empty_again(containers: list[Any], filled: list[Any]) -> None:
    """Empty those that were not filled before."""
    now = list(filter(None, containers))
    if not _are(now, filled):
        before = set(map(id, filled))
        for container in now:
            if id(container) not in before:
                container.clear()


def _refill(container: Any, entries: list[Any], values: list[Any]) -> None:
    container.clear()
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
