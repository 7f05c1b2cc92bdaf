"""The tensors that inputs hold: one, or several in a mapping or a sequence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch


def tensors_in(found: Any, name: str = "inputs") -> dict[str, torch.Tensor]:
    """Return the tensors that a value is or holds, by where they are in it, depth first.

    >>> list(tensors_in({"ids": torch.ones(2), "more": (None, torch.ones(2))}))
    ["inputs['ids']", "inputs['more'][1]"]
    """
    match found:
        case torch.Tensor():
            return {name: found}
        case Mapping():
            held = {f"{name}[{key!r}]": part for key, part in found.items()}
        case list() | tuple():
            held = {f"{name}[{i}]": part for i, part in enumerate(found)}
        case _:
            return {}
    return {where: x for key, part in held.items() for where, x in tensors_in(part, key).items()}


def mapped(function: Callable[[torch.Tensor], Any], found: Any) -> Any:
    """Return a value of the same form with each of its tensors replaced; what is none stays.

    >>> mapped(len, {"ids": torch.ones(2), "more": (None, torch.ones(3))})
    {'ids': 2, 'more': (None, 3)}
    """
    match found:
        case torch.Tensor():
            return function(found)
        case MutableMapping():
            new = copy.copy(found)
            new.update({key: mapped(function, part) for key, part in found.items()})
            return new
        case Mapping():
            return {key: mapped(function, part) for key, part in found.items()}
        case tuple() if hasattr(found, "_fields"):
            return type(found)(*(mapped(function, part) for part in found))
        case list() | tuple():
            return type(found)(mapped(function, part) for part in found)
        case _:
            return found


def joined(found: Sequence[Any]) -> Any:
    """Return values of one form as one, the tensors in their places joined along the examples.

    >>> joined([(torch.zeros(2), {"a": torch.ones(1)}), (torch.ones(1), {"a": torch.ones(1)})])
    (tensor([0., 0., 1.]), {'a': tensor([1., 1.])})
    """
    columns = zip(*(tensors_in(x).values() for x in found), strict=True)
    each = iter([torch.cat(column) for column in columns])
    return mapped(lambda _: next(each), found[0])
