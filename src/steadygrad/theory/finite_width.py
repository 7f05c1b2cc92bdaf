"""Finite width: the law of the log of a layer's mean square, its band over depth, and ReLU's exact law.

Over draws of the weights a layer of n units has the mean square E[phi^2] G, where G is a mean of n independent
copies of phi^2 / E[phi^2]: its mean is 1 and its variance kappa / n. Given the layer before, layers are independent
draws, so the log of the squared norm is a sum, and its cumulants add up over depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtri, polygamma, psi

from steadygrad.errors import not_allowed

from .activations import Activation, activation
from .activations.activation import Array
from .moments import moments


@dataclass(frozen=True, slots=True)
class LogLaw:
    """The first three cumulants of a log squared norm; they add over independent layers.

    Attributes:
        mean: E[log].
        variance: of the log.
        third: third cumulant.

    >>> LogLaw(-0.1, 0.2, -0.1) + LogLaw(-0.1, 0.2, -0.1)
    LogLaw(mean=-0.2, variance=0.4, third=-0.2)
    """

    mean: float
    variance: float
    third: float

    def __add__(self, other: LogLaw) -> LogLaw:
        return LogLaw(self.mean + other.mean, self.variance + other.variance, self.third + other.third)

    def quantile(self, p: float) -> float:
        """Return the quantile of the log at probability p, by Cornish and Fisher's expansion to the skewness.

        x = mean + sd (z + g (z^2 - 1)/6 - g^2 (2 z^3 - 5 z)/36), with z the normal quantile and g the skewness, kept
        within |g| <= 2, where the expansion still rises over the 95% band.

        >>> round(LogLaw(0.0, 1.0, 0.0).quantile(0.975), 6)
        1.959964
        """
        if not 0 < p < 1:
            raise ValueError(not_allowed("p", "is a probability and must be within (0, 1)", p))
        if self.variance <= 0:
            return self.mean
        sd, z = math.sqrt(self.variance), float(ndtri(p))
        g = max(-2.0, min(2.0, self.third / sd**3))
        return self.mean + sd * (z + g * (z * z - 1) / 6 - g * g * (2 * z**3 - 5 * z) / 36)

    def band(self, coverage: float = 0.95) -> tuple[float, float]:
        """Return the central band of the log that holds this share of the draws.

        >>> [round(x, 3) for x in LogLaw(0.0, 1.0, 0.0).band()]
        [-1.96, 1.96]
        """
        return self.quantile((1 - coverage) / 2), self.quantile((1 + coverage) / 2)


ZERO = LogLaw(0.0, 0.0, 0.0)


def log_mean_square(phi: float | str | Activation | Callable[..., Any], n: float, *, q: float = 1.0) -> LogLaw:
    """Return the law of log((1/n) sum phi_i^2 / E[phi^2]) over n independent units.

    The mean of squares has mean 1 and variance kappa/n; a gamma law of shape k = n/kappa has both, and its log has the
    cumulants psi(k) - ln k, psi'(k), psi''(k): -kappa/2n, kappa/n, -(kappa/n)^2 to first order. It is exact for
    the identity (a chi square law). For another phi the mean is right to 1/n and the variance too; the error is
    O(1/n^2), as the gamma law's third cumulant 2 kappa^2 stands in for phi's own. Below n = 2 kappa or so take
    `relu_log_law` for ReLU, and expect tens of percent else.

    Args:
        phi: an activation, or kappa = Var(phi^2)/E[phi^2]^2 itself.
        n: width, >= 1.
        q: variance of the pre-activation, where phi is an activation.

    Raises:
        ValueError: for a width below 1, or kappa that is negative or not finite.

    References: Hanin and Rolnick, "How to start training", 2018, theorem 5; Abramowitz and Stegun 6.4.

    >>> law = log_mean_square("relu", 100)
    >>> round(law.mean, 4), round(law.variance, 4)
    (-0.0252, 0.0513)
    """
    kappa = phi if isinstance(phi, int | float) else moments(activation(phi), q).kappa
    if not 1 <= n < math.inf:
        raise ValueError(not_allowed("n", "is a width and must be >= 1", n))
    if not 0 <= kappa < math.inf:
        raise ValueError(not_allowed("kappa", "is a variance ratio and must be >= 0", kappa))
    return _gamma_log(n / kappa) if kappa else ZERO


@lru_cache(maxsize=4096)
def _gamma_log(k: float) -> LogLaw:
    if k > 1e6:
        return LogLaw(-0.5 / k - 1 / (12 * k * k), 1 / k + 0.5 / k**2, -1 / k**2)
    return LogLaw(float(psi(k)) - math.log(k), float(polygamma(1, k)), float(polygamma(2, k)))


@lru_cache(maxsize=1024)
def relu_log_law(n: int) -> LogLaw:
    """Return the exact law of log((2/n) sum relu(z_i)^2) over n units, given that one of them is alive.

    The number of units alive is binomial, m ~ B(n, 1/2); given m the sum is a chi square of m degrees, whose log has
    the cumulants psi(m/2) + ln 2, psi'(m/2), psi''(m/2). The total cumulants follow from those of the mixture, m = 0
    excluded (the layer is dead, with probability 2^-n).

    Args:
        n: width, >= 1.

    >>> law = relu_log_law(16)
    >>> round(20 * law.mean, 2), round(20 * law.variance, 2)
    (-3.53, 8.39)
    """
    if n < 1:
        raise ValueError(not_allowed("n", "is a width and must be >= 1", n))
    m = np.arange(1, n + 1, dtype=np.float64)
    log_p = gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) - n * math.log(2)
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    means = psi(m / 2) + math.log(2) + math.log(2 / n)
    return _mixture(p, means, polygamma(1, m / 2), polygamma(2, m / 2))


def _mixture(p: Array, means: Array, variances: Array, thirds: Array) -> LogLaw:
    mean = float(p @ means)
    d = means - mean
    return LogLaw(mean, float(p @ (d * d + variances)), float(p @ (d**3 + 3 * d * variances + thirds)))


def layer_law(phi: str | Activation | Callable[..., Any], n: int, *, q: float = 1.0) -> LogLaw:
    """Return the law of one layer's log mean square: exact for ReLU and the identity, matched gamma otherwise.

    >>> layer_law("relu", 4) == relu_log_law(4)
    True
    """
    entry = activation(phi)
    return relu_log_law(int(n)) if entry.name == "relu" and n <= 4096 else log_mean_square(entry, n, q=q)


def depth_laws(phi: str | Activation | Callable[..., Any], widths: Iterable[int], *, q: float = 1.0) -> list[LogLaw]:
    """Return the law of the log squared norm after each layer, where each layer's norm only scales the next.

    That is exact for homogeneous activations (ReLU, leaky ReLU, identity) under Gaussian weights without bias. Else a
    deviation is carried on with the factor s (see `gain`), which `mlp` accounts for.

    >>> [round(law.mean, 4) for law in depth_laws("relu", [100, 100])]
    [-0.0254, -0.0508]
    """
    return list(accumulate(layer_law(phi, n, q=q) for n in widths))


def norm_moments(kappa: float, widths: Sequence[int]) -> tuple[float, float]:
    """Return E[rho] = 1 and E[rho^2] = prod(1 + kappa / n_l) of the normalised squared norm, homogeneous phi.

    >>> round(norm_moments(5.0, [100] * 20)[1], 6)
    2.653298
    """
    return 1.0, math.prod(1 + kappa / n for n in widths)
