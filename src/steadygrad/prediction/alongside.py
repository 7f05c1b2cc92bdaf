"""How gradients that are large come to lie less along their own signals, and what that takes from them.

W^T u of a gradient u has of u, beside fresh numbers, what lies along z = W x: with a = n cos²(u, z) of n units,
|W^T u|² is 1 + (a - 1)/n of what it would be of an independent u. Where functions are homogeneous u·z is one number in
all layers (Euler), so a is that squared over |u|² |z|². Of one example a is independent of |u|², and its mean is 1. Of
a batch R = Σ w a, w the shares that examples have in the mean square M, falls where M rises by what is one example's
own: E[R] < 1, and draws with a large M have a larger R, as E[R M] = E[M]. With ρ = 1 + e (R - 1)/n + ε what a step
makes of M, φ = 1 + η of the signal's, and τ, υ, ζ the variances of ε and η and their covariance, times n, R becomes
R φ/ρ; with V = Var(R) and h = Cov(R, log M), to first order in 1/n,

    n Δh = e V + m (ζ - τ) + h (e + τ - ζ) - 2 e (m + V/m) h
    n ΔE[R²] = (2 e + 3 τ + υ - 4 ζ) E[R²] - 2 e E[R³],    m = E[R] = e^-h,

R as a gamma variable: E[R³] = m³ + 3 m V + 2 V²/m. Of one example V = 2 and h = 0 stay. Behind each step the log of M
has e h/n less of a mean, and twice that more of a variance.

Approximate: a gamma variable and a lognormal one; functions that are not homogeneous renew what of a gradient does not
lie along them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .hermite import over_rows, tables

if TYPE_CHECKING:
    from .batch import Batch
    from .hermite import Expansion
    from .source import Onward, Source
    from .values import Array, Moments

MOST = 1.0  # of h: m is no first-order term any more


@dataclass(frozen=True, slots=True)
class Step:
    """What a layer does: e, τ, υ, ζ as above, and the share of what lies along the signal that does so behind it."""

    pull: float
    gradient: float
    signal: float
    both: float = 0.0
    kept: float = 1.0


@dataclass(frozen=True, slots=True)
class Alongside:
    """V and h of a gradient.

    >>> Alongside(2.0, 0.0).behind(Step(1.0, 2.0, 2.0), 64)  # one example, a matrix
    Alongside(varied=2.0, with_size=0.0)
    """

    varied: float
    with_size: float

    @property
    def mean(self) -> float:
        """E[R]."""
        return math.exp(-self.with_size)

    def behind(self, step: Step, units: float) -> Alongside:
        """Return what it is behind a step of so many units."""
        m, v, h, e = self.mean, self.varied, self.with_size, step.pull
        own, noise = step.both - step.gradient, 2 * e + 3 * step.gradient + step.signal - 4 * step.both
        grown = h + (e * v + m * own + h * (e - own) - 2 * e * (m + v / m) * h) / units
        square, cube = m * m + v, m**3 + 3 * m * v + 2 * v * v / m
        square += (noise * square - 2 * e * cube) / units
        grown = min(max(grown, 0.0), MOST) * step.kept
        return Alongside(max(square - math.exp(-2 * grown), 0.0) * step.kept**2, grown)

    def taken(self, pull: float, level: float, units: float, concentration: float) -> tuple[float, float]:
        """Return what a step takes of the mean of log M, half of what that varies by more, and of an example's own.

        Args:
            pull: e of the step.
            level: what lies along the signals, relative to chance.
            units: of the step.
            concentration: Σ w².
        """
        shift = pull * level * self.with_size / units
        return shift, 2 * shift / max(1 - concentration, 1e-12)

    def concentration(self, of_gradients: float) -> float:
        """Return Σ v² of the shares v ∝ w a that examples have in R, where Σ w² is this: E[a²] = 3 of each."""
        return min(3 * of_gradients / (self.mean**2 + self.varied), 1.0)


def of_examples(own: float, pair: float, concentration: float) -> float:
    """Return what a mean over a batch has of a quantity that is `own` of one example and `pair` of two."""
    return concentration * own + (1 - concentration) * pair


def of_function(g: Moments, source: Source, values: Array, h: Expansion, share: float, batch: Batch) -> Step:
    """Return the step of a gradient through h, by its values on the nodes; `share` is Σ w²."""
    assert source.onward is not None
    assert g.alongside is not None
    f, lost = _against_units(source.onward.expansion), source.decay_of_squares.mean(0)
    of_h = over_rows(h.square) / float(over_rows(h.q))
    own, pair = _functions(of_h, of_h, lost)
    return Step(
        pulled(source.onward, values, h),
        of_examples(3 * own, (1 + 2 * batch.pair_overlap(g)) * pair, share),
        of_examples(*_functions(f, f, lost), g.alongside.concentration(share)),
        of_examples(*_functions(f, of_h, lost), share),
        _still_along(source, values),
    )


def pulled(onward: Onward, values: Array, h: Expansion) -> float:
    """Return by how much more is left behind h of what lies along f than of what lies anywhere."""
    both = float(((onward.values * values) ** 2 @ tables()[1]).mean())
    size = float(over_rows(onward.expansion.q)) * float(over_rows(h.q))
    return both / size - 1 if size > 0 else 0.0


def _still_along(source: Source, values: Array) -> float:
    """Return the squared cosine of f and h z: what lies along f lies as much along z behind h, the rest is new."""
    assert source.onward is not None
    w, back = tables()[1], values * source.nodes
    size = float(over_rows(source.onward.expansion.q)) * float((back**2 @ w).mean())
    return min(float((source.onward.values * back @ w).mean()) ** 2 / size, 1.0) if size > 0 else 0.0


def _functions(square: Array, other: Array, lost: Array) -> tuple[float, float]:
    """Return the covariance of two functions of one unit, by their coefficients, and of two examples' units."""
    terms = square[1:] * other[1:]
    own = float(terms.sum())
    return own, own - float(lost[1:] @ terms)


def _against_units(f: Expansion) -> Array:
    """Return the coefficients of f²/E[f²] - z²."""
    found = over_rows(f.square) / max(float(over_rows(f.q)), 1e-300)
    found[2] -= math.sqrt(2)
    return np.asarray(found)
