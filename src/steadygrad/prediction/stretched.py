"""A function by its values on the nodes, and beyond them, under Gaussians of other sizes than that of the nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .hermite import REACH, tables

Matrix = NDArray[np.float64]

FAR = REACH * 2.0 ** (np.arange(1, 41) / 4)  # in deviations: a draw may be a thousand times as large as a typical one
NEAREST = 1e-12  # to 0, of the two points there
BEYOND = np.concatenate([-FAR[::-1], FAR])


def everywhere(values: Matrix, far: Matrix | None) -> tuple[Matrix, Matrix]:
    """Return the nodes with those beyond them, and a function's values there; the nodes alone where none are known."""
    z = tables()[0]
    if far is None:
        return z, values
    left, right = far[: len(FAR)], far[len(FAR) :]
    return np.concatenate([-FAR[::-1], z, FAR]), np.concatenate([left, values, right])


def onwards(x: Matrix, z: Matrix, values: Matrix) -> Matrix:
    """Return a function at x by its values at z, on straight lines between and beyond; on each side of 0 by its own."""
    z, values = _parted(z, values)
    right = (values[-1] - values[-2]) / (z[-1] - z[-2]) * np.maximum(x - z[-1], 0.0)
    left = (values[1] - values[0]) / (z[1] - z[0]) * np.minimum(x - z[0], 0.0)
    return np.asarray(np.interp(x, z, values) + right + left)


def _parted(z: Matrix, values: Matrix) -> tuple[Matrix, Matrix]:
    """Return nodes and values with those that lines from both sides have at 0, where functions may jump or bend."""
    i = int(np.searchsorted(z, 0.0))
    left = values[i - 1] - (values[i - 1] - values[i - 2]) / (z[i - 1] - z[i - 2]) * z[i - 1]
    right = values[i] - (values[i + 1] - values[i]) / (z[i + 1] - z[i]) * z[i]
    nodes = np.concatenate([z[:i], [-NEAREST, NEAREST], z[i:]])
    return nodes, np.concatenate([values[:i], [left, right], values[i:]])


def powers_at(f: tuple[Matrix, Matrix], logs: Matrix) -> tuple[Matrix, Matrix]:
    """Return E[f²] and E[f⁴] under Gaussians of these log variances.

    >>> powers_at((tables()[0], tables()[0]), np.array([0.0, np.log(4.0)]))[1].round(6).tolist()
    [3.0, 48.0]
    """
    nodes, w = tables()[:2]
    square = onwards(nodes * np.exp(logs[:, None] / 2), *f) ** 2
    return np.maximum(square @ w, 1e-300), square**2 @ w


def meetings(f: tuple[Matrix, Matrix], h: tuple[Matrix, Matrix], logs: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return E[f h z], E[h² z²] and E[f² h²] under Gaussians of these log variances, for f, h and z of unit size."""
    nodes, w = tables()[:2]
    z = nodes * np.exp(logs[:, None] / 2)
    at_f, at_h = (onwards(z, *known) for known in (f, h))
    of_f, of_h, of_z = (np.maximum(x**2 @ w, 1e-300) for x in (at_f, at_h, z))
    met = (at_f * at_h * z) @ w / np.sqrt(of_f * of_h * of_z)
    return met, (at_h * z) ** 2 @ w / (of_h * of_z), (at_f * at_h) ** 2 @ w / (of_f * of_h)
