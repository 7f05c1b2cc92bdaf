"""Functions that are polynomials between their kinks, plus exponentials below the first: sums of closed integrals.

ReLU6, hardtanh, hardswish, the shrinks, ELU and its kin are such functions, and so are their derivatives and squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from .activations import Activation
from .activations.activation import Array

Polynomial = tuple[float, ...]
_DEGREE = 2
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Piecewise:
    """Polynomials between kinks, and c e^(r u) terms below the first kink.

    Attributes:
        kinks: rising, at least one.
        polynomials: coefficients of 1, u, u^2, ..., one tuple a piece, from the left.
        exponentials: pairs (c, r), r > 0, which hold below the first kink.
    """

    kinks: tuple[float, ...]
    polynomials: tuple[Polynomial, ...]
    exponentials: tuple[tuple[float, float], ...] = ()

    @property
    def flat(self) -> bool:
        """Whether no polynomial is left."""
        return not any(any(p) for p in self.polynomials)

    def derivative(self) -> Piecewise:
        """Return the derivative between the kinks."""
        slopes = tuple(tuple(k * a for k, a in enumerate(p) if k) for p in self.polynomials)
        return Piecewise(self.kinks, slopes, tuple((c * r, r) for c, r in self.exponentials))

    def square(self) -> Piecewise:
        """Return the square."""
        squares = tuple(tuple(np.convolve(p, p).tolist()) if p else () for p in self.polynomials)
        terms: dict[float, float] = {}
        for c, r in self.exponentials:
            for d, s in self.exponentials:
                terms[r + s] = terms.get(r + s, 0.0) + c * d
            left = self.polynomials[0]
            assert not any(left[1:]), "a polynomial times an exponential has no place here"
            terms[r] = terms.get(r, 0.0) + 2 * c * (left[0] if left else 0.0)
        return Piecewise(self.kinks, squares, tuple((c, r) for r, c in terms.items() if c))

    def jumps(self) -> Array:
        """Return the jump at each kink."""
        sides = zip(self.kinks, self.polynomials, self.polynomials[1:], strict=False)
        found = np.array([_value(right, k) - _value(left, k) for k, left, right in sides])
        found[0] -= sum(c * math.exp(r * self.kinks[0]) for c, r in self.exponentials)
        return found

    def mean(self, centre: Array, sd: Array) -> Array:
        """Return E[f(v)] for v ~ N(centre, sd^2), entry by entry; sd > 0.

        The piece around 0 is integrated over the whole line and the change at each kink beyond that kink: what lies
        far in the tails is then small by itself, not by cancellation.
        """
        middle = sum(k <= 0 for k in self.kinks)
        around = self.polynomials[middle]
        total = _moments_sum(around, _whole_moments(centre, sd, len(around)))
        for i, k in enumerate(self.kinks):
            left, right = self.polynomials[i], self.polynomials[i + 1]
            if i >= middle:
                change = _shifted(_difference(right, left), k)
                total = total + _moments_sum(change, _upper_moments(centre - k, sd, len(change)))
            else:
                change = _mirrored(_shifted(_difference(left, right), k))
                total = total + _moments_sum(change, _upper_moments(k - centre, sd, len(change)))
        for c, r in self.exponentials:
            below = ndtr((self.kinks[0] - centre) / sd - r * sd)
            total = total + c * np.exp(r * centre + r * r * sd * sd / 2) * below
        return total


def _mirrored(p: Polynomial) -> Polynomial:
    return tuple(a if k % 2 == 0 else -a for k, a in enumerate(p))


def _value(p: Polynomial, u: float) -> float:
    return sum(a * u**k for k, a in enumerate(p))


def _difference(a: Polynomial, b: Polynomial) -> Polynomial:
    size = max(len(a), len(b))
    return tuple((a[k] if k < len(a) else 0.0) - (b[k] if k < len(b) else 0.0) for k in range(size))


def _shifted(p: Polynomial, k: float) -> Polynomial:
    """Coefficients in powers of u - k."""
    return tuple(sum(math.comb(n, m) * p[n] * k ** (n - m) for n in range(m, len(p))) for m in range(len(p)))


def _moments_sum(p: Polynomial, moments: Sequence[Array]) -> Array:
    total = np.zeros_like(moments[0])
    for a, moment in zip(p, moments, strict=False):
        if a:
            total = total + a * moment
    return total


def _whole_moments(centre: Array, sd: Array, count: int) -> list[Array]:
    """E[v^m]: M_m = centre M_{m-1} + (m - 1) sd^2 M_{m-2}."""
    return _recursion([np.ones_like(centre), centre], centre, sd, count)


def _upper_moments(centre: Array, sd: Array, count: int) -> list[Array]:
    """E[max(v, 0)^m], the indicator of v > 0 for m = 0: the same recursion from Phi and the first moment."""
    z = centre / sd
    first = ndtr(z)
    return _recursion([first, centre * first + sd * _INV_SQRT_2PI * np.exp(-0.5 * z * z)], centre, sd, count)


def _recursion(start: list[Array], centre: Array, sd: Array, count: int) -> list[Array]:
    for m in range(2, count):
        start.append(centre * start[m - 1] + (m - 1) * sd * sd * start[m - 2])
    return start


@lru_cache(maxsize=512)
def piecewise(entry: Activation, kind: str) -> Piecewise | None:
    """Return an activation, its derivative or the square of either as polynomials between kinks, or None.

    The polynomials are of degree 2 at most; they are fitted and then held against the function at other points.

    >>> from steadygrad.theory import activation
    >>> piecewise(activation("hardtanh"), "derivative").polynomials
    ((), (1.0,), ())
    """
    found = _exponential_unit(entry) or _fitted(entry)
    if found is None:
        return None
    derived = found.derivative() if kind.startswith("derivative") else found
    return _trimmed(derived.square() if kind.endswith("square") else derived)


def _trimmed(f: Piecewise) -> Piecewise:
    polynomials = tuple(p[: max((k + 1 for k, a in enumerate(p) if a), default=0)] for p in f.polynomials)
    return Piecewise(f.kinks, polynomials, f.exponentials)


def _exponential_unit(entry: Activation) -> Piecewise | None:
    """ELU, CELU and SELU: above u for u > 0, below (e^(rate u) - 1) for u < 0."""
    if entry.name not in ("elu", "celu", "selu"):
        return None
    above = float(entry.phi(np.array([1.0]))[0])
    bottom = -float(entry.phi(np.array([-1e4]))[0])
    alpha = float(dict(entry.parameters).get("alpha", 1.0))
    rate = 1 / alpha if entry.name == "celu" else 1.0
    return Piecewise((0.0,), ((-bottom,), (0.0, above)), ((bottom, rate),))


def _fitted(entry: Activation) -> Piecewise | None:
    if not entry.kinks or len(entry.kinks) > 8:
        return None
    bounds = [min(entry.kinks) - 8.0, *entry.kinks, max(entry.kinks) + 8.0]
    pieces = [_fit(entry, low, high) for low, high in pairwise(bounds)]
    # The outer pieces must go on as they are.
    far = [(pieces[0], bounds[0] - 50.0), (pieces[-1], bounds[-1] + 50.0)]
    if any(p is None for p in pieces) or not all(p and _agrees(entry, p, np.array([u])) for p, u in far):
        return None
    return Piecewise(entry.kinks, tuple(p for p in pieces if p is not None))


def _fit(entry: Activation, low: float, high: float) -> Polynomial | None:
    middle, half = (low + high) / 2, (high - low) / 2
    three = middle + half * np.array([-0.7, 0.1, 0.8])
    raw = np.linalg.solve(np.vander(three, _DEGREE + 1, increasing=True), entry.phi(three))
    p = tuple(float(_rounded(a)) for a in raw)
    return p if _agrees(entry, p, middle + half * np.linspace(-0.99, 0.99, 12)) else None


def _rounded(a: float) -> float:
    """Drop the rounding of the fit: what is a ratio of small numbers is taken as such."""
    near = round(a * 720720) / 720720
    return near if abs(near - a) < 1e-12 * max(1.0, abs(a)) else a


def _agrees(entry: Activation, p: Polynomial, u: Array) -> bool:
    exact, got = np.polynomial.polynomial.polyval(u, p), entry.phi(u)
    return bool(np.all(np.abs(exact - got) <= 1e-14 * (1 + np.abs(got))))
