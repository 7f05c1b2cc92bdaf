"""Products of every two places behind a function of a sum: of two independent Gaussians, each with a Gram of its own.

A rectified stream and a branch that joins it are alike from place to place by their own correlations c and c', and
where an image is bright one is larger beside the other than where it is dark. With coefficients a_nm of f in the
products of both Hermite polynomials, at the sizes that both have at entry i,

    E[f_i f_j] = Σ a_nm(i) a_nm(j) c_ij^n c'_ij^m.

Approximate: of what turns a pair of entries the coefficients are those of their mean ratio of sizes, and by what both
are larger f's size is a power of it, as of a rectifier it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .decays import GRID, decay_on_grid
from .gram import Array, Gram, angle, between_levels, half_sums, levels_of, on_grid, zero_diagonal
from .hermite import TERMS, tables

LEAST = 1e-6  # of a second moment, relative to the mean
UNLIKE = math.log(30.0)  # of two sizes: beyond it the smaller hardly counts
LARGER = 0.05  # of the log of a size, over which a power is taken


def behind(found: Gram, function: Callable[[float, float], Array], one: Gram, other: Gram) -> Gram:
    """Return the Gram behind a function of a sum.

    Args:
        found: what is known of it otherwise: lengths, and what means over places vary by.
        function: its values on the nodes of both Gaussians, [nodes, nodes], given by how much larger each of them is.
        one: of the first Gaussian.
        other: of the second.
    """
    first, second = (np.sqrt(np.maximum(x.entries, LEAST)) for x in (one, other))
    ratios = np.clip(np.log(second / first), -UNLIKE, UNLIKE)
    levels = levels_of(ratios)
    low, part = between_levels(ratios, levels)
    weights = np.zeros((*low.shape, len(levels)))
    np.put_along_axis(weights, np.minimum(low + 1, len(levels) - 1)[..., None], part[..., None], -1)
    np.put_along_axis(weights, low[..., None], (1 - part)[..., None], -1)
    each = np.array([_coefficients(function(math.exp(-x / 2), math.exp(x / 2))) for x in levels])
    products = each.reshape(len(levels), -1) @ each.reshape(len(levels), -1).T
    whole = weights @ products @ weights.transpose(0, 2, 1)
    squares = np.diagonal(whole, axis1=1, axis2=2)
    gaps = [angle(x.of_like_lengths, np.sqrt(x.entries)) for x in (one, other)]
    table = np.array([_lost_of_two(x**2) for x in each])
    apart = half_sums(squares) - whole + _between(table, low + part, *gaps)
    sizes = (first * second) ** _power(function)
    return _stretched(found, squares, apart, sizes)


def _stretched(found: Gram, squares: Array, gaps: Array, sizes: Array) -> Gram:
    """Return the Gram of entries times sizes: s s' D + (s - s')(s K - s' K')/2."""
    apart, uneven = (x[:, :, None] - x[:, None, :] for x in (sizes, sizes * squares))
    gaps = np.maximum(sizes[:, :, None] * sizes[:, None, :] * gaps + apart * uneven / 2, 0.0)
    zero_diagonal(gaps)
    new = replace(found, squares=(squares * sizes**2).reshape(found.squares.shape), gaps=gaps).relative()
    return new.with_lengths(found.lengths)


def _power(function: Callable[[float, float], Array]) -> float:
    """Return d log E[f²]/d log s² at half, of both sizes s: the power of s s' that f goes by."""
    weights = tables()[1]
    more, less = (float(weights @ function(s, s) ** 2 @ weights) for s in (math.exp(LARGER), math.exp(-LARGER)))
    return math.log(max(more, 1e-300) / max(less, 1e-300)) / (8 * LARGER)


def _coefficients(values: Array) -> Array:
    """Return the coefficients of a function by its values on both nodes, [terms, terms + 1]; the last are the rest."""
    weights, matrix = tables()[1:3]
    found = matrix.T @ values @ matrix
    rest = max(float(weights @ values**2 @ weights) - float((found**2).sum()), 0.0)
    last = np.zeros((TERMS, 1))
    last[-1] = math.sqrt(rest)
    return np.concatenate([found, last], axis=1)


def _lost_of_two(masses: Array) -> Array:
    """Return sum masses_nm (1 - c^n c'^m) on the grid of both differences, [grid, grid]."""
    first = decay_on_grid()[:, :TERMS]
    second = np.concatenate([first, first[:, -1:]], axis=1)
    # 1 - c^n c'^m = (1 - c^n) + (1 - c'^m) - (1 - c^n)(1 - c'^m)
    alone, beside = first @ masses.sum(1), second @ masses.sum(0)
    return np.asarray(alone[:, None] + beside - first @ masses @ second.T)


def _between(table: Array, place: Array, one: Array, other: Array) -> Array:
    """Return what lies between the points of a grid of levels and two differences, [levels, grid, grid]."""
    middle = half_sums(place)
    low = np.minimum(middle.astype(np.intp), max(len(table) - 2, 0))
    (i, u), (j, v), size = on_grid(one), on_grid(other), len(GRID)
    flat, found = table.ravel(), np.zeros_like(one)
    for level, w in ((low, 1 - (middle - low)), (np.minimum(low + 1, len(table) - 1), middle - low)):
        for row, x in ((i, 1 - u), (i + 1, u)):
            start = (level * size + row) * size + j
            found += w * x * (flat.take(start) * (1 - v) + flat.take(start + 1) * v)
    return found
