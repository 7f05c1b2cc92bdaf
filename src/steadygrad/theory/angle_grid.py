"""Panels of angles between two inputs, graded towards 0 and pi, with interpolation and integration on them."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from .activations.activation import Array
from .activations.closed import angle

POINTS = 20
CHEBYSHEV = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)[::-1].copy()
TO_COEFFICIENTS = np.linalg.inv(np.polynomial.chebyshev.chebvander(CHEBYSHEV, POINTS - 1))
_RATIO = 1.8
# exp(-D^2 / 2 q theta^2) is below 1e-18 for theta < D / 9 sd.
_SILENT = 9.0


class AngleGrid:
    """Chebyshev panels on [0, pi].

    Two kinks that stand apart by D put exp(-D^2 / (2 q theta^2)) into the map, which is smooth but not analytic at 0:
    the first panel ends before it is felt, and the next ones grow by a factor of 1.8. The same holds at pi for the
    sums of two kinks.

    Args:
        sd: sqrt(q).
        scale: of the function.
        kinks: of the function.
        power: 1 where the function jumps, else 2: what the gap is divided by, theta^power.
    """

    def __init__(self, *, sd: float, scale: float, kinks: tuple[float, ...], power: int) -> None:
        self.power = power
        apart = [abs(a - b) for a in kinks for b in kinks if a != b]
        sums = [abs(a + b) for a in kinks for b in kinks if a != -b]
        lower = _graded(_first(sd, scale, apart))
        upper = _graded(_first(sd, scale, sums))
        self.cuts = np.array([*lower, math.pi / 2, *[math.pi - e for e in reversed(upper)]])

    @cached_property
    def nodes(self) -> Array:
        """The angles of each panel, rising: one row a panel."""
        low, high = self.cuts[:-1, None], self.cuts[1:, None]
        return np.asarray((low + high) / 2 + (high - low) / 2 * CHEBYSHEV)

    def integrate(self, rates: Array) -> Array:
        """Return the integral from 0 to each node of what has these values at the nodes."""
        first, rest = _integration()
        half = np.diff(self.cuts) / 2
        sums = half[:, None] * (rates @ rest.T)  # from each panel's left end to its nodes, and to its right end
        before = np.concatenate([[0.0], np.cumsum(sums[:-1, -1])])
        out = before[:, None] + sums[:, :-1]
        # theta int_0^1 rate(theta y) dy, or theta^2 int_0^1 y (rate/theta)(theta y) dy where it vanishes at 0.
        theta, rate = self.nodes[0], rates[0]
        order = 0 if _starts(rate) else 1
        out[0] = theta ** (order + 1) * (first[order] @ (rate / theta**order))
        return np.asarray(out)

    def locate(self, gap: Array) -> tuple[Array, NDArray[np.intp], Array]:
        """Return the angles of gaps, their panels and their positions in [-1, 1] there."""
        theta = angle(gap)
        panel = np.clip(np.searchsorted(self.cuts, theta, side="right") - 1, 0, len(self.cuts) - 2)
        low, high = self.cuts[panel], self.cuts[panel + 1]
        return theta, panel, (2 * theta - low - high) / (high - low)


def _starts(rate: Array) -> bool:
    """Whether the rate is not 0 at theta = 0."""
    at_0 = float(np.polynomial.chebyshev.chebval(-1.0, TO_COEFFICIENTS @ rate))
    return abs(at_0) > 1e-9 * float(np.abs(rate).max())


def _first(sd: float, scale: float, distances: list[float]) -> float:
    return min([scale / sd, 0.9, *(d / (_SILENT * sd) for d in distances if d / (_SILENT * sd) < math.pi / 2)])


def _graded(first: float) -> list[float]:
    out, at = [0.0], first
    while at < math.pi / 2 / 1.3:
        out.append(at)
        at *= _RATIO
    return out


@lru_cache(maxsize=1)
def _integration() -> tuple[tuple[Array, Array], Array]:
    """Matrices on [-1, 1]: scaled integrals from the left end with weight 1 and y, and plain cumulative integrals."""
    y, w = np.polynomial.legendre.leggauss(POINTS)
    y, w = (y + 1) / 2, w / 2
    targets = np.append(CHEBYSHEV, 1.0)
    points = -1 + (targets[:, None] + 1) * y  # from the left end to each target
    values = np.polynomial.chebyshev.chebvander(points, POINTS - 1) @ TO_COEFFICIENTS
    plain, weighted = np.einsum("g,tgn->tn", w, values), np.einsum("g,tgn->tn", w * y, values)
    return (plain[:-1], weighted[:-1]), (targets + 1)[:, None] * plain
