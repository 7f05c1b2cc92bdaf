"""The values of one axis: a list as it stands, or a range written as start, stop and count."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .point import Count, Finite
from .spec_error import said_of


class Range(BaseModel):
    """`count` values from `start` to `stop`, both included, evenly spaced or evenly in their logarithm."""

    model_config = ConfigDict(extra="forbid")

    start: Finite
    stop: Finite
    count: Annotated[Count, Field(le=10**7)]
    spacing: Literal["linear", "log"] = "linear"

    def values(self) -> list[float]:
        """Return the values, whole numbers where all of them are.

        >>> Range(start=1, stop=100, count=3, spacing="log").values()
        [1, 10, 100]
        """
        if self.spacing == "log" and min(self.start, self.stop) <= 0:
            raise ValueError("a range with spacing 'log' must have start and stop > 0.")
        space = np.geomspace if self.spacing == "log" else np.linspace
        # Twelve digits: 0.1 and 0.30000000000000004 are to be one point with what is written as 0.3.
        values = [float(f"{value:.12g}") for value in space(self.start, self.stop, self.count)]
        return [int(v) for v in values] if all(v.is_integer() and abs(v) < 2**53 for v in values) else values


def values_of(axis: Any) -> list[Any]:
    """Return an axis as a list.

    >>> values_of({"start": 0.0, "stop": 1.5, "count": 4}), values_of((1, 2))
    ([0.0, 0.5, 1.0, 1.5], [1, 2])
    """
    if isinstance(axis, dict):
        try:
            return list(Range(**axis).values())
        except ValidationError as error:
            raise ValueError(f"of a range {said_of(error, tables=tuple(Range.model_fields))}") from None
    if isinstance(axis, str) or not isinstance(axis, Iterable):
        raise ValueError("an axis is a list, or a range {start, stop, count}; a single value belongs in `fixed`.")
    values = [v.item() if isinstance(v, np.generic) else v for v in axis]
    if not values:
        raise ValueError("an axis must not be empty: the grid has no point.")
    if any(isinstance(v, float) and math.isnan(v) for v in values):
        raise ValueError("an axis must hold numbers, got nan.")
    return values
