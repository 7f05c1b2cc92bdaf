"""Where the units of a layer lie in a tensor, and where an operator takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The entries o · count · inner + j · inner + i of a dimension, for o < outer, i < inner, belong to unit j.

    Attributes:
        dim: the dimension.
        outer: how often the units repeat in it.
        inner: how many entries in a row belong to one unit, such as the pixels of a flattened channel.
    """

    dim: int
    outer: int = 1
    inner: int = 1

    def columns(self, units: Tensor, count: int) -> Tensor:
        """Return the entries of some of `count` units.

        >>> Place(dim=1, inner=2).columns(torch.tensor([0, 2]), 3).tolist()
        [0, 1, 4, 5]
        >>> Place(dim=1, outer=2).columns(torch.tensor([0, 2]), 3).tolist()
        [0, 2, 3, 5]
        """
        o, i = torch.arange(self.outer, device=units.device), torch.arange(self.inner, device=units.device)
        return (o[:, None, None] * count * self.inner + units[:, None] * self.inner + i).flatten()


def reshaped(place: Place, before: Shape, after: Shape) -> Place | None:
    """Return where units lie after a reshape that merges neighbouring dimensions; None where it does anything else.

    >>> reshaped(Place(dim=1), (32, 8, 3, 3), (32, 72))
    Place(dim=1, outer=1, inner=9)
    >>> reshaped(Place(dim=2), (32, 5, 8), (160, 8))
    Place(dim=1, outer=1, inner=1)
    >>> reshaped(Place(dim=1), (32, 8), (16, 16)) is None
    True
    """
    merged = len(before) - len(after) + 1
    for start in range(len(after)) if merged >= 1 else ():
        end = start + merged
        whole = (*before[:start], math.prod(before[start:end]), *before[end:])
        if whole == after:
            return _merged(place, before, start, end)
    return None


def _merged(place: Place, before: Shape, start: int, end: int) -> Place | None:
    if place.dim < start or end - start == 1:
        return place
    if place.dim >= end:
        return Place(dim=place.dim - (end - start - 1), outer=place.outer, inner=place.inner)
    if start == 0 or place.outer > 1:  # units that share a dimension with the examples, or are merged once more
        return None
    outer, inner = math.prod(before[start : place.dim]), math.prod(before[place.dim + 1 : end])
    return Place(dim=start, outer=outer, inner=place.inner * inner)
