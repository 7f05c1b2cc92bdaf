"""The cosine c of two examples over draws and pairs: its mean and its mean square, by the exact law of one layer.

N independent units f give c' = Σ f f'/√(Σ f² Σ f'²). With ρ = E[f f']/E[f²] at the cosine that came in, and M_jk =
E[f^j f'^k]/E[f²]², it has to first order in 1/N

    E[c'] = ρ + D/N,  D = ρ (3 M₄₀ + M₂₂)/4 - M₃₁,    Var(c') = S/N,  S = (1 + ρ²/2) M₂₂ + ρ² M₄₀/2 - 2 ρ M₃₁.

Of Gaussian units D = -c (1 - c²)/2 and S = (1 - c²)², as of the correlation of a sample. Lengths do not enter. What is
no line is averaged over (1 - c)/2 as a Beta variable of the same two moments: at mean 0 the cosine of two vectors that
point anywhere in some number of dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .hermite import TERMS, Expansion, decay, over_rows, tables
from .values import Array

if TYPE_CHECKING:
    from .batch import Batch

NODES = 4
CERTAIN = 1e-9  # variance, relative to the square of 1 - c, that is rounding


@dataclass(frozen=True, slots=True)
class Cosine:
    """E[1 - c] and E[1 - c²] of two examples, over draws and pairs."""

    gap: float
    spare: float

    @property
    def alike(self) -> float:
        """E[c²]."""
        return 1 - self.spare

    @property
    def variance(self) -> float:
        """Var(c)."""
        return max(2 * self.gap - self.gap**2 - self.spare, 0.0)

    def beyond(self, gap: Array, batch: Batch) -> Array:
        """Return what E[c²] has beyond (1 - gap)², for pairs of distinct examples; a typical gap is below the mean."""
        return batch.off_diagonal(1 - self.spare - batch.distinct_mean((1 - gap) ** 2))

    def typical(self, gap: float) -> float:
        """Return what what goes with 1 - c is in a draw of this gap, relative to its mean over draws."""
        return min(gap / self.gap, 1.0) if self.gap > 0 else 1.0

    def beside(self, share: float) -> Cosine:
        """Return the cosine where a share of the sizes is the signals', and the rest is the same for both.

        >>> Cosine(1.0, 1.0).beside(0.5)
        Cosine(gap=0.5, spare=0.75)
        """
        squares = 2 * self.gap - self.spare  # E[(1 - c)²]
        return Cosine(share * self.gap, 2 * share * self.gap - share * share * squares)

    def nodes(self) -> tuple[Array, Array]:
        """Return values of 1 - c with their weights, of a Beta variable with these two moments (Golub, Welsch 1969)."""
        half, variance = self.gap / 2, self.variance / 4
        if variance <= CERTAIN * half * half or not 0 < half < 1:
            return np.array([self.gap]), np.array([1.0])
        count = max(half * (1 - half) / variance - 1, 1e-6)
        a, b = half * count - 1, (1 - half) * count - 1
        n = np.arange(1, NODES)
        m = 2 * n + a + b
        middle = np.concatenate([[2 * half], 1 - (b * b - a * a) / (m * (m + 2))])
        with np.errstate(divide="ignore", invalid="ignore"):
            beside = 4 * n * (n + a) * (n + b) * (n + a + b) / (m * m * (m + 1) * (m - 1))
        beside[0] = 4 * (1 + a) * (1 + b) / (m[0] ** 2 * (m[0] + 1))
        side = np.sqrt(np.maximum(beside, 0.0))
        values, vectors = np.linalg.eigh(np.diag(middle) + np.diag(side, 1) + np.diag(side, -1))
        return np.clip(values, 0.0, 2.0), vectors[0] ** 2

    def of_units(self, units: float) -> Cosine:
        """Return the cosine of so many Gaussian units."""
        gaps, weights = self.nodes()
        c, spare = 1 - gaps, gaps * (2 - gaps)
        drift, scatter = -c * spare / 2, spare * spare
        return _bounded(weights, gaps - drift / units, spare - (2 * c * drift + scatter) / units)

    def through(self, f: Expansion, values: Array, units: float) -> Cosine:
        """Return the cosine behind a function of so many units; `values` are its values on the nodes."""
        gaps, weights = self.nodes()
        gap, drift, scatter = law(f, values, gaps)
        spare = gap * (2 - gap) - (2 * (1 - gap) * drift + scatter) / units
        return _bounded(weights, gap - drift / units, spare)


def law(f: Expansion, values: Array, gaps: Array) -> tuple[Array, Array, Array]:
    """Return 1 - ρ, D and S of a function, given by its values on the nodes, for 1 - c of its arguments."""
    lost, q = decay(gaps), np.maximum(f.q[:, None], 1e-300)
    gap = lost @ over_rows(f.plain**2 / q)
    rho, m40 = 1 - gap, float(over_rows(f.fourth / q[:, 0] ** 2))
    of_squares, of_cubes = lost @ over_rows((f.square / q) ** 2), lost @ over_rows(cubed(f, values) / q**2)
    drift = of_cubes - gap * m40 - rho * of_squares / 4
    scatter = gap * gap * m40 - of_squares * (1 + rho * rho / 2) + 2 * rho * of_cubes
    return gap, drift, np.maximum(scatter, 0.0)


def cubed(f: Expansion, values: Array) -> Array:
    """Return the products of the coefficients of f and f³, whose sum is E[f⁴].

    Orders beyond the terms have what is left, as f² has it: at a kink f³ bends by 3 f² of what f does.
    """
    products = np.zeros_like(f.plain)
    products[:, :TERMS] = f.plain[:, :TERMS] * (values**3 @ tables()[2])
    tail = f.plain[:, TERMS:] ** 2
    whole = tail.sum(1, keepdims=True)
    left = (f.fourth - products.sum(1))[:, None]
    products[:, TERMS:] = np.divide(left * tail, whole, out=np.zeros_like(tail), where=whole > 0)
    return products


ALIKE = Cosine(0.0, 0.0)


def begun(products: Array, q: Array, varied: float) -> Cosine:
    """Return the cosine by products of examples, their second moments, and what c² varies by over draws."""
    size = np.sqrt(np.outer(q, q))
    c = np.divide(products, size, out=np.zeros_like(size), where=size > 0)[~np.eye(len(q), dtype=bool)]
    return _possible(float((1 - c).mean()), float((1 - c * c).mean()) - varied)


def _bounded(weights: Array, gaps: Array, spares: Array) -> Cosine:
    """Return the cosine of these means, as far as one can have them."""
    return _possible(float(weights @ gaps), float(weights @ spares))


def _possible(gap: float, spare: float) -> Cosine:
    gap = min(max(gap, 0.0), 2.0)
    return Cosine(gap, min(max(spare, 0.0), gap * (2 - gap)))
