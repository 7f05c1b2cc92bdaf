"""An activation as theory sees it: the function, its derivative, where it is not smooth, and its closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pointwise = Callable[[Array], Array]
Kernel = Callable[[float, Array], Array]


@dataclass(frozen=True, kw_only=True)
class ClosedForms:
    """Maps of an activation that need no quadrature, each a function of the variance q and an array of gaps 1 - c.

    Attributes:
        gap: 1 - E[phi(u)phi(v)] / E[phi^2].
        derivative_gap: the same of phi'.
        square: E[phi(u)^2 phi(v)^2] / E[phi^2]^2 - 1.
        derivative_square: the same of phi'.
        power_mean: E[phi^k], of q, the mean of u and k; the same holds for phi'.
    """

    gap: Kernel | None = None
    derivative_gap: Kernel | None = None
    square: Kernel | None = None
    derivative_square: Kernel | None = None
    power_mean: Callable[[float, float, int], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A pointwise activation phi, ready to be integrated.

    Attributes:
        name: its name in `NAMES`, or the callable's own name.
        parameters: its parameters as (name, value) pairs, in the order of their names.
        phi: the function, of an array of float64.
        derivative: phi', almost everywhere.
        kinks: where phi or one of its derivatives jumps; quadrature is split there.
        jumps: those kinks where phi itself jumps.
        corners: those kinks where phi' jumps.
        scale: the shortest length on which phi changes: its distance to the nearest complex pole, or the width of its
            bend. Panels near a kink or the origin are not longer.
        longest: the longest panel that resolves phi anywhere; finite for a function that oscillates.
        resolved: False for a user's callable, whose panels are refined until they converge.
        growth: phi grows as exp(growth |u|) at most; the tails are followed that much further.
        closed: closed forms of its correlation maps.

    >>> from steadygrad.theory import activation
    >>> activation("leaky_relu", negative_slope=0.1).kinks
    (0.0,)
    """

    name: str
    parameters: tuple[tuple[str, float | str], ...] = ()
    phi: Pointwise = field(hash=False)
    derivative: Pointwise = field(hash=False)
    kinks: tuple[float, ...] = field(default=(), hash=False)
    jumps: tuple[float, ...] = field(default=(), hash=False)
    corners: tuple[float, ...] = field(default=(), hash=False)
    scale: float = field(default=1.0, hash=False)
    longest: float = field(default=np.inf, hash=False)
    resolved: bool = field(default=True, hash=False)
    growth: float = field(default=0.0, hash=False)
    closed: ClosedForms = field(default=ClosedForms(), hash=False)

    def __call__(self, u: Array) -> Array:
        """Return phi(u)."""
        return self.phi(u)

    def __str__(self) -> str:
        listed = ", ".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.parameters
        )
        return f"{self.name}({listed})" if listed else self.name
