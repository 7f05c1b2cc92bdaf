"""The gap map of an activation whose derivative is a Gaussian mixture: its whole Hermite series, at any variance.

With z ~ N(0, 1) and normalised Hermite polynomials h_n,

    E[exp(-b z^2 / 2) h_2m(z)] = sqrt(C(2m, m) / 4^m) (-b / (1 + b))^m / sqrt(1 + b),   b = a q,

and erf(z sqrt(b / 2)) has the derivative sqrt(2 b / pi) exp(-b z^2 / 2), so that all coefficients of phi' and phi are
sums of closed terms, for n = 1 as for n = 10^20. They change slowly with n, and `graded_sum` adds them all up. Every
term of 1 - C = sum a_n^2 (1 - c^n) / sum a_n^2 is positive: the smallest gap keeps its digits. All n are 2m + shift,
and 1 - c^(2m + shift) = 1 - c^shift + c^shift (1 - c^2m) takes one power for both parities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .activations import Activation
from .activations.activation import Array
from .gaussian_mixture import Mixture, gaussian_mixture
from .graded_sum import central_binomial, graded_rule
from .moments import moments

_DIGITS = 2e-11  # of the slope at c = 1: the mixture's error against the root mean square of what varies
_LAST = 1e25


@dataclass(frozen=True)
class MixtureMap:
    """1 - C as a sum over m of odd_m (1 - c^(2m + 1)) + even_m (1 - c^(2m + shift)).

    Attributes:
        m: real numbers >= 0.
        odd: shares of the odd n.
        even: shares of the even n.
        shift: 0 or 2.
    """

    m: Array
    odd: Array
    even: Array
    shift: int

    def __call__(self, gap: Array) -> Array:
        """Return 1 - C at these gaps."""
        negative = gap > 1
        t = np.minimum(np.where(negative, 2 - gap, gap), 1 - 2.0**-53)  # 1 - |c|
        lost = -np.expm1((2 * np.log1p(-t))[:, None] * self.m)
        total = np.zeros(gap.size)
        if self.odd.any():
            lost_odd = t * self.odd.sum() + (1 - t) * (lost @ self.odd)
            total += np.where(negative, 2 * self.odd.sum() - lost_odd, lost_odd)
        if self.even.any():
            first = t * (2 - t) if self.shift else np.zeros(gap.size)
            total += first * self.even.sum() + (1 - first) * (lost @ self.even)
        return total


@lru_cache(maxsize=1024)
def mixture_map(entry: Activation, q: float, kind: str) -> MixtureMap | None:
    """Return the map of phi ("phi") or phi' ("derivative") at variance q, or None where a mixture does not hold it.

    Args:
        entry: the activation.
        q: variance, > 0.
        kind: what the map is of. The squares have no mixture; a kinked phi' has one whose terms fall too slowly.
    """
    if kind not in ("phi", "derivative") or (kind == "derivative" and entry.kinks):
        return None
    mixture = gaussian_mixture(entry)
    if mixture is None:
        return None
    m, even, odd = _slope_squares(mixture, q)
    varying = float(odd.sum() + even[1:].sum())
    constant = float(even[0])
    if not entry.resolved and not _whole(varying + constant, moments(entry, q).derivative_second):
        return None
    if kind == "derivative":
        return _map(mixture, (m, odd, even), shift=0, varying=varying, total=varying + constant)
    raised_odd, raised_even = q * even / (2 * m + 1), q * odd / (2 * m + 2)
    total = float(raised_odd.sum() + raised_even.sum()) + moments(entry, q).mean ** 2
    return _map(mixture, (m, raised_odd, raised_even), shift=2, varying=varying + constant, total=total)


def _whole(found: float, exact: float) -> bool:
    """Whether a callable's mixture has all of E[phi'^2]: no feature lies between the points of the fit."""
    return abs(found - exact) <= _DIGITS * exact


def _map(
    mixture: Mixture, terms: tuple[Array, Array, Array], *, shift: int, varying: float, total: float
) -> MixtureMap | None:
    if mixture.error > _DIGITS * math.sqrt(varying):
        return None
    m, odd, even = terms
    return MixtureMap(m=m, odd=odd / total, even=even / total, shift=shift)


def _slope_squares(f: Mixture, q: float) -> tuple[Array, Array, Array]:
    """m, and the sums of a_n^2 of phi' that n = 2m and n = 2m + 1 stand for."""
    b = f.rates * q
    m, count = graded_rule(_largest(f, q))
    powers = np.exp(m[:, None] * -np.log1p(1 / b))
    norm = count * central_binomial(m)
    even = powers @ (f.even / np.sqrt(1 + b))
    even[0] += f.constant
    odd = np.zeros(m.size)
    if f.sign or f.odd.any():
        odd = powers @ (f.odd * np.sqrt(2 / math.pi * b / (1 + b))) + f.sign * math.sqrt(2 / math.pi)
    return m, norm * even**2, norm * odd**2 / (2 * m + 1)


def _largest(f: Mixture, q: float) -> float:
    """The last m that counts.

    (b / (1 + b))^m is below 1e-17 beyond 40 (1 + b). Behind a kink n a_n^2 falls as n^(-5/2) from about q on, which
    leaves 1e-15 beyond 1e10 q; behind a jump of phi' as n^(-3/2).
    """
    if f.sign:
        return _LAST
    return min(40 * (1 + float(f.rates.max()) * q), (1e10 if f.kinked else math.inf) * (1 + q), _LAST)
