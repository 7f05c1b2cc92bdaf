"""Scales for a chain of layers of known depth and width: on the edge of chaos, and as far from linear as it allows."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from steadygrad.theory import Activation, Moments, curvature, moments, recommend, stability

# What each of three effects may change over the whole depth: a factor of two.
TOLERANCE = math.log(2)

# Variances that are tried, largest first: quarter octaves, down to where a smooth function is a line to doubles.
_VARIANCES = tuple(2.0 ** (-k / 4) for k in range(97))

# The laws of finite width are those of first order in 1/width, which overstate what narrower layers do.
_NARROWEST = 16

# Two-sided 95% of a normal.
_REACH = 1.96


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales of a layer and the second moment of its pre-activations that they keep.

    Attributes:
        sigma_w: sqrt(fan_in) times the weight's deviation.
        sigma_b: the bias's deviation.
        q: second moment of the pre-activation.
        typical: the median of one draw's E[phi²] relative to its mean, exp(-kappa/(2N)).
        varied: what a layer adds to the variance over draws of the log of q, or of the squared gradient: the larger.
        words: why.
    """

    sigma_w: float
    sigma_b: float
    q: float
    typical: float
    words: str
    varied: float = 0.0


@functools.lru_cache(maxsize=4096)
def critical_point(phi: Activation, depth: int, width: int, *, bias: bool = True, orthogonal: bool = False) -> Scales:
    """Return the point of the edge of chaos that a chain of `depth` layers of `width` units keeps to its end.

    On the edge gradients keep their size, sigma_w² E[phi'²] = 1, for any q; the bias makes q a fixed point. The larger
    q, the less linear the layer, so q is the largest up to 1 at which, over the depth L, (i) the correlation of two
    inputs rises so that 1 - c loses at most half: 1 - c_L = (1 - c_0)/(1 + beta L (1 - c_0)/2) with
    beta = sigma_w² q E[phi''²], so beta L/2 <= ln 2; (ii) a wrong q grows at most by a factor of two, also from where
    N units let q wander in 95% of draws, exp(1.96 sqrt(kappa L/N)) times it; (iii) so does the squared gradient by what
    finite width does to the Gaussian's fourth moment, 3 - 6/N.

    Of one draw of N units the mean of q and of the squared gradient is not what is seen: a log with variance kappa/N a
    layer lies kappa/(2N) below. sigma_w² is larger by as much, so that the median gradient keeps its size.

    Args:
        phi: the activation.
        depth: activations of the chain, >= 1.
        width: units of a layer, >= 1.
        bias: whether the layer has one; without it sigma_w keeps the signal instead.
        orthogonal: whether the weights are orthogonal, which takes the norm's share, 2, from kappa.

    References: Schoenholz et al. 2017, section 3; Hayou, Doucet and Rousseau 2019, proposition 3 (beta); Hanin and
        Rolnick 2018, theorem 5 (the log's law).

    >>> from steadygrad.theory import activation
    >>> point = critical_point(activation("tanh"), 10_000, 64, orthogonal=True)
    >>> point.q < 0.01, round(point.sigma_w, 3), point.sigma_b > 0
    (True, 1.001, True)
    >>> round(critical_point(activation("relu"), 100, 10**6).sigma_w, 4)
    1.4142
    """
    chain = _Chain(phi, depth, max(width, _NARROWEST), orthogonal)
    found = recommend(phi)
    if "cannot be critical" in found.words:
        words = f"keeps the signal of {phi}, which cannot be critical"
        return Scales(sigma_w=found.sigma_w, sigma_b=0.0, q=found.q, typical=1.0, words=words)
    q = next((q for q in _VARIANCES if chain.holds(q)), 1.0)
    sigma_w, sigma_b = chain.scales(q)
    words = f"edge of chaos of {phi}" + ("" if q == 1 else f" at q = {q:.3g}")
    if bias or sigma_b == 0:
        return Scales(
            sigma_w=sigma_w, sigma_b=sigma_b, q=q, typical=chain.typical(q), words=words, varied=chain.varied(q)
        )
    words = f"keeps the signal of {phi} at q = {q:.3g}"
    return Scales(
        sigma_w=chain.gain(q), sigma_b=0.0, q=q, typical=chain.typical(q), words=words, varied=chain.varied(q)
    )


@dataclass(frozen=True)
class _Chain:
    phi: Activation
    depth: int
    width: int
    orthogonal: bool

    def scales(self, q: float) -> tuple[float, float]:
        """sigma_w and sigma_b: the median of the gradient and that of q stay."""
        m = moments(self.phi, q)
        squared = math.exp(self._behind(m) / (2 * self.width)) / m.derivative_second
        rest = q - squared * m.second * self.typical(q)
        return math.sqrt(squared), math.sqrt(rest) if rest > 1e-9 * q else 0.0

    def gain(self, q: float) -> float:
        """sigma_w that keeps the median of q without a bias."""
        return math.sqrt(q / moments(self.phi, q).second / self.typical(q))

    def typical(self, q: float) -> float:
        """The median of what a layer gives, relative to its mean."""
        return math.exp(-self._ahead(q, moments(self.phi, q)) / (2 * self.width))

    def varied(self, q: float) -> float:
        """What a layer adds to the variance of a log, of the signal or of the gradient."""
        m = moments(self.phi, q)
        return max(self._ahead(q, m), self._behind(m), 0.0) / self.width

    def _ahead(self, q: float, m: Moments) -> float:
        """N times the variance that a layer adds to the log of q."""
        return m.kappa - 2 * stability(self.phi, q, m) ** 2 if self.orthogonal else m.kappa

    def _behind(self, m: Moments) -> float:
        """The same of the squared gradient: units phi'² times a Gaussian's square."""
        return 3 * m.derivative_fourth / m.derivative_second**2 - (3 if self.orthogonal else 1)

    def holds(self, q: float) -> bool:
        """Whether none of three effects changes more than a factor of two over the depth."""
        m = moments(self.phi, q)
        if not 0 < m.second < math.inf or not 0 < m.derivative_second < math.inf:
            return False
        return not (self._bends(q, m) or self._drifts(q, m) or self._shifts(q))

    def _bends(self, q: float, m: Moments) -> bool:
        beta = q * curvature(self.phi, q) / m.derivative_second
        # A corner bends at every scale, and no q would do: then the other two decide.
        return math.isfinite(beta) and beta * self.depth / 2 > TOLERANCE

    def _drifts(self, q: float, m: Moments) -> bool:
        unstable = self._slope(q, m) - 1
        if unstable <= 1e-9:
            return False
        wandered = q * math.exp(_REACH * math.sqrt(max(self._ahead(q, m), 0.0) * self.depth / self.width))
        return (self._slope(wandered, moments(self.phi, wandered)) - 1) * self.depth > TOLERANCE

    def _slope(self, q: float, m: Moments) -> float:
        return m.second / m.derivative_second / q * stability(self.phi, q, m)

    def _shifts(self, q: float) -> bool:
        """The slope of ln E[phi'²] over ln q, by a central difference, times the relative error 2/N of q."""
        above, below = (moments(self.phi, q * step).derivative_second for step in (1.01, 1 / 1.01))
        slope = math.log(above / below) / (2 * math.log(1.01))
        return abs(slope) * 2 / self.width * self.depth > TOLERANCE
