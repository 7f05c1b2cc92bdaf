"""Functions of a Gaussian by their values on fixed nodes, and what these say of two correlated Gaussians.

A function f of z ~ N(0, 1) is held as its values on composite Gauss-Legendre nodes, split at 0, where ReLU and its kin
have their kink. With Hermite coefficients a_n = E[f(z) h_n(z)], h_n orthonormal (Mehler 1866),

    E[f(z) g(z')] = Σ_n a_n b_n c^n    for corr(z, z') = c,

so E[(f(z) - f(z'))²]/2 = Σ_n a_n² (1 - c^n) for f = g: all terms positive, no digit lost near c = 1. Functions with
kinks or jumps have a_n² ~ n^-p: the mass that the first terms leave is spread over blocks of higher orders by that
power law.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

REACH = 12.0
TERMS = 64
BLOCKS = 64
PANEL = 64
SMALLEST = 0.1  # below it a Gaussian is narrower than what the nodes resolve
_STEPS = np.arange(BLOCKS)


def _panels() -> tuple[Matrix, Matrix]:
    x, w = np.polynomial.legendre.leggauss(PANEL)
    half = REACH / 2
    z = np.concatenate([half * x - half, half * x + half])
    return z, np.concatenate([w, w]) * half * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def _basis(z: Matrix) -> Matrix:
    """Return h_0 ... h_{TERMS-1} at z by the three-term recurrence."""
    rows = [np.ones_like(z), z]
    for n in range(1, TERMS - 1):
        rows.append((z * rows[n] - np.sqrt(n) * rows[n - 1]) / np.sqrt(n + 1))
    return np.array(rows)


@cache
def tables() -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return nodes, weights, the matrix that maps values to coefficients, and the orders of all terms."""
    z, w = _panels()
    edges = TERMS * 2.0 ** np.arange(BLOCKS)
    orders = np.concatenate([np.arange(TERMS, dtype=float), edges * np.sqrt(2.0)])
    return z, w, (_basis(z) * w).T.copy(), orders


def _tail(coefficients: Matrix, left: Matrix) -> Matrix:
    """Return the masses of the blocks of orders 64 2^j ..., from the power law that the last coefficients follow."""
    squares = coefficients**2
    octave = squares[:, TERMS // 2 :].sum(1)
    power = np.log2(1 + np.maximum(octave, 1e-300) / np.maximum(left, 1e-300))
    shrink = 2.0 ** -np.clip(power, 0.05, 6.0)[:, None]
    return np.asarray(left[:, None] * (1 - shrink) * shrink**_STEPS)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A function of z ~ N(0, 1), a row an example: its moments and Hermite coefficients, and those of its square.

    mean, q, fourth: E[f], E[f²], E[f⁴], [rows]; stein: E[f² (z² - 1)], [rows]; plain, square: coefficients of f and of
    f², [rows, terms + blocks].
    """

    mean: Matrix
    q: Matrix
    fourth: Matrix
    stein: Matrix
    plain: Matrix
    square: Matrix


def expand(values: Matrix) -> Expansion:
    """Return the expansion of functions given on the nodes, [rows, nodes]."""
    rows = len(values)
    both = np.concatenate([values, values * values])
    sums = both @ _sums()
    q = sums[rows:, 0]
    fourth = both[rows:] ** 2 @ _sums()[:, 0]
    both = coefficients(both, np.concatenate([q, fourth]))
    return Expansion(sums[:rows, 0], q, fourth, sums[rows:, 1], both[:rows], both[rows:])


def over_rows(values: Matrix) -> Matrix:
    """Return the mean over rows, of which there is one where all examples are alike."""
    return np.asarray(values[0] if len(values) == 1 else values.mean(0))


def at_scales(values: Matrix, scales: Matrix) -> Matrix:
    """Return E[f(s z)] of a function by its values on the nodes, for each s: by weights of the density of s z.

    >>> z = tables()[0]
    >>> at_scales(z**2, np.array([1.0, 1.1])).round(6).tolist()
    [1.0, 1.21]
    """
    z, w = tables()[:2]
    small = np.maximum(np.asarray(scales, dtype=float)[:, None], SMALLEST) ** 2
    return np.asarray((np.exp(np.log(w) - z * z / 2 * (1 / small - 1)) / np.sqrt(small)) @ values)


@cache
def _sums() -> Matrix:
    z, w, _, _ = tables()
    return np.stack([w, w * (z * z - 1)], axis=1)


def coefficients(values: Matrix, second: Matrix) -> Matrix:
    """Return Hermite coefficients, [rows, terms + blocks], of functions on the nodes with these second moments."""
    a = values @ tables()[2]
    left = second - (a * a).sum(1)
    whole = np.zeros((len(a), TERMS + BLOCKS))
    whole[:, :TERMS] = a
    if (left > 1e-12 * second).any():
        whole[:, TERMS:] = np.sqrt(_tail(a, np.maximum(left, 0.0)))
    return whole


def count(whole: Matrix) -> int:
    """Return how many terms and blocks of coefficients there are: of functions that are smooth no blocks."""
    return whole.shape[1] if whole[:, TERMS:].any() else TERMS


@cache
def odd_orders() -> NDArray[np.bool_]:
    """Return which terms are of odd orders; a block holds even and odd ones alike and counts as even."""
    orders = np.arange(TERMS + BLOCKS)
    return np.asarray((orders % 2 == 1) & (orders < TERMS))


def decay(gap: Matrix, number: int = TERMS + BLOCKS) -> Matrix:
    """Return 1 - c^n, [pairs, terms + blocks], for c = 1 - gap; exact for small gaps. `number` are TERMS or all.

    1 - c^(m + n) = (1 - c^m) + c^m (1 - c^n): from orders up to n those up to 2n, without a digit lost near c = 1. A
    block of high orders holds even and odd ones alike, so a negative c leaves nothing of it.
    """
    found = np.empty((number, len(gap)))
    found[0], found[1], known = 0.0, gap, 1
    while known < TERMS - 1:
        more, last = min(known, TERMS - 1 - known), found[known]
        here = np.multiply(1 - last, found[1 : more + 1], out=found[known + 1 : known + more + 1])
        here += last
        known += more
    if number > TERMS:
        _blocks(gap, found[TERMS:])
    return np.ascontiguousarray(found.T)


def _blocks(gap: Matrix, found: Matrix) -> None:
    """Write 1 - c^n of the blocks, [blocks, pairs], each of twice the order of the one before."""
    with np.errstate(divide="ignore"):
        found[0] = -np.expm1(tables()[3][TERMS] * np.log1p(-np.minimum(gap, 1.0)))
    for before, after in itertools.pairwise(found):
        np.multiply(before, 2 - before, out=after)
