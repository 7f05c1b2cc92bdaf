"""A function by its values on the nodes, and beyond them, under Gaussians of other sizes than that of the nodes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .hermite import REACH, tables

Matrix = NDArray[np.float64]

FAR = REACH * 2.0 ** (np.arange(1, 41) / 4)  # in deviations: a draw may be a thousand times as large as a typical one
NEAREST = 1e-12  # to 0, of the two points there
BEYOND = np.concatenate([-FAR[::-1], FAR])


def everywhere(values: Matrix, far: Matrix | None) -> tuple[Matrix, Matrix]:
    """Return the nodes with those beyond them, and a function's values there; the nodes alone where none are known."""
    if far is None:
        return tables()[0], values
    left, right = far[: len(FAR)], far[len(FAR) :]
    return _nodes(), np.concatenate([left, values, right])


@cache
def _nodes() -> Matrix:
    return np.concatenate([-FAR[::-1], tables()[0], FAR])


class Among:
    """Where numbers lie among points, between which tables are lines."""

    def __init__(self, x: Matrix, at: Matrix) -> None:
        self.at = at
        self._below = np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(at) - 2)
        self._share = np.clip((x - at[self._below]) / np.diff(at)[self._below], 0.0, 1.0)

    def of(self, table: Matrix) -> Matrix:
        """Return a table's values at the numbers."""
        return np.asarray(table[self._below] + self._share * np.diff(table)[self._below])

    def relative(self, table: Matrix) -> Matrix:
        """Return them relative to that at 0; one where nothing is there."""
        here = float(np.interp(0.0, self.at, table))
        return self.of(table / here) if here > 0 else np.ones_like(self._share)

    def beside(self, varied: Matrix) -> Matrix:
        """Return the deviations that noise of such variances has, relative to that at 0."""
        return np.sqrt(self.relative(varied))


def onwards(x: Matrix, z: Matrix, values: Matrix) -> Matrix:
    """Return a function at x by its values at z, on straight lines between and beyond; on each side of 0 by its own."""
    z, values = _parted(z, values)
    found = np.interp(x, z, values)
    if x.max() > z[-1]:
        found += (values[-1] - values[-2]) / (z[-1] - z[-2]) * np.maximum(x - z[-1], 0.0)
    if x.min() < z[0]:
        found += (values[1] - values[0]) / (z[1] - z[0]) * np.minimum(x - z[0], 0.0)
    return np.asarray(found)


def _parted(z: Matrix, values: Matrix) -> tuple[Matrix, Matrix]:
    """Return nodes and values with those that lines from both sides have at 0, where functions may jump or bend."""
    i = int(np.searchsorted(z, 0.0))
    left = values[i - 1] - (values[i - 1] - values[i - 2]) / (z[i - 1] - z[i - 2]) * z[i - 1]
    right = values[i] - (values[i + 1] - values[i]) / (z[i + 1] - z[i]) * z[i]
    nodes = np.concatenate([z[:i], [-NEAREST, NEAREST], z[i:]])
    return nodes, np.concatenate([values[:i], [left, right], values[i:]])


def powers_at(f: tuple[Matrix, Matrix], logs: Matrix, kurtosis: float = 0.0) -> tuple[Matrix, Matrix]:
    """Return E[f²] and E[f⁴] under Gaussians of these log variances; E[f²] of units with a kurtosis beyond theirs.

    That is the first term of Edgeworth's series. Of units that are few on a sphere fourth powers of one say nothing of
    what their mean varies by: it is as if they were Gaussian, of a size that is known.

    >>> powers_at((tables()[0], tables()[0]), np.array([0.0, np.log(4.0)]))[1].round(6).tolist()
    [3.0, 48.0]
    """
    nodes, w = tables()[:2]
    square = onwards(nodes * np.exp(logs[:, None] / 2), *f) ** 2
    of_square = w + kurtosis * _of_kurtosis() if kurtosis else w
    return np.maximum(square @ of_square, 1e-300), square**2 @ w


@cache
def _of_kurtosis() -> Matrix:
    nodes, w = tables()[:2]
    return np.asarray(w / 24 * (nodes**4 - 6 * nodes**2 + 3))


def meetings(f: tuple[Matrix, Matrix], h: tuple[Matrix, Matrix], logs: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return E[f h z], E[h² z²] and E[f² h²] under Gaussians of these log variances, for f, h and z of unit size."""
    nodes, w = tables()[:2]
    z = nodes * np.exp(logs[:, None] / 2)
    at_f, at_h = (onwards(z, *known) for known in (f, h))
    of_f, of_h, of_z = (np.maximum(x**2 @ w, 1e-300) for x in (at_f, at_h, z))
    both, back = at_f * at_h, at_h * z
    met = (both * z) @ w / np.sqrt(of_f * of_h * of_z)
    return met, back**2 @ w / (of_h * of_z), both**2 @ w / (of_f * of_h)
