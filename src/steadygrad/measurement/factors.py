"""Which parameter a matrix product multiplies by, whether a layer of torch does it or a line of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

_PRODUCTS = frozenset(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv"))

_FLIPS = frozenset(("t", "transpose", "permute"))
_VIEWS = frozenset(
    ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "alias", "clone", "contiguous", "_to_copy")
)


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A parameter that a product multiplies what it is given by.

    Attributes:
        name: the parameter's name.
        terms: products that an entry of the result sums.
        unit_axis: axis of the parameter that the result's units lie along; None where views of it hide that.
    """

    name: str
    terms: int
    unit_axis: int | None


class Factors:
    """Knows parameters, and what is one still under another shape.

    Args:
        names: of parameters by identity.

    >>> w = torch.nn.Parameter(torch.ones(3, 5))
    >>> Factors({id(w): "w"}).of("mm", [torch.ones(2, 3), w], ())
    Factor(name='w', terms=3, unit_axis=1)
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._views: Any = WeakTensorKeyDictionary()

    def made(self, operator: str, given: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> None:
        """Note a view of a parameter."""
        if len(given) != 1 or len(found) != 1 or (seen := self._seen(given[0])) is None:
            return
        name, flips, matrix = seen
        if operator in _FLIPS:
            self._views[found[0]] = (name, not flips, matrix and given[0].dim() == 2)
        elif operator in _VIEWS:
            self._views[found[0]] = (name, flips, matrix and found[0].shape == given[0].shape)

    def of(self, operator: str, given: Sequence[torch.Tensor], args: Sequence[Any]) -> Factor | None:
        """Return the one factor of a product that is a parameter; None where none or both are."""
        if operator == "convolution":
            return self._of_convolution(given, args)
        if operator not in _PRODUCTS or len(given) < 2:
            return None
        sides = [self._seen(x) for x in given[-2:]]
        place = next((i for i, side in enumerate(sides) if side is not None), None)
        if place is None or None not in sides:
            return None
        name, flips, matrix = sides[place]  # type: ignore[misc]
        axis = (1 - place if flips else place) if matrix else None
        return Factor(name=name, terms=given[-2].shape[-1], unit_axis=axis)

    def _of_convolution(self, given: Sequence[torch.Tensor], args: Sequence[Any]) -> Factor | None:
        """A transposed one sums a number of terms that differs from place to place."""
        seen = self._seen(given[1])
        if seen is None or (len(args) > 6 and args[6]):
            return None
        return Factor(name=seen[0], terms=given[1][0].numel(), unit_axis=0)

    def _seen(self, x: torch.Tensor) -> tuple[str, bool, bool] | None:
        if id(x) in self._names:
            return self._names[id(x)], False, x.dim() == 2
        found: tuple[str, bool, bool] | None = self._views.get(x)
        return found
