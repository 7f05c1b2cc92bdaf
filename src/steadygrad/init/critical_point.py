"""Scales for a chain of layers of known depth and width: on the edge of chaos, and as far from linear as it allows."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from steadygrad.theory import Activation, Recommendation, curvature, gain, moments, recommend, stability

# What each of three effects may change over the whole depth: a factor of two.
_TOLERANCE = math.log(2)

# Variances that are tried, largest first: quarter octaves, down to where a smooth function is a line to doubles.
_VARIANCES = tuple(2.0 ** (-k / 4) for k in range(81))


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales of a layer and the second moment of its pre-activations that they keep.

    Attributes:
        sigma_w: sqrt(fan_in) times the weight's deviation.
        sigma_b: the bias's deviation.
        q: second moment of the pre-activation.
        words: why.
    """

    sigma_w: float
    sigma_b: float
    q: float
    words: str


@functools.lru_cache(maxsize=4096)
def critical_point(phi: Activation, depth: int, width: int, bias: bool = True) -> Scales:
    """Return the point of the edge of chaos that a chain of `depth` layers of `width` units keeps to its end.

    On the edge gradients keep their size on average, sigma_w² E[phi'²] = 1, for any q; the bias makes q a fixed point.
    The larger q, the less linear the layer, so q is the largest up to 1 at which, over the whole depth, (i) the
    correlation of two inputs rises so that 1 - c loses at most half: 1 - c_L = (1 - c_0)/(1 + beta L (1 - c_0)/2) with
    beta = sigma_w² q E[phi''²], so beta L <= 2 ln 2; (ii) a wrong q grows at most by a factor of two; (iii) so does the
    squared gradient by what finite width does to q, whose Gaussian fourth moment 3 is 3 - 6/N there.

    Args:
        phi: the activation.
        depth: layers of the chain, >= 1.
        width: units of a layer, >= 1.
        bias: whether the layer has one; without it sigma_w keeps the signal instead.

    References: Schoenholz et al. 2017, section 3; Hayou, Doucet and Rousseau 2019, proposition 3 (beta).

    >>> from steadygrad.theory import activation
    >>> point = critical_point(activation("tanh"), 10_000, 64)
    >>> point.q < 0.01, round(point.sigma_w, 3), point.sigma_b > 0
    (True, 1.001, True)
    >>> critical_point(activation("relu"), 100, 64).q
    1.0
    """
    found = recommend(phi)
    if _is_critical(found):
        found = recommend(phi, q=next((q for q in _VARIANCES if _holds(phi, q, depth, width)), 1.0))
    q = found.q
    if bias or found.sigma_b == 0:
        return Scales(sigma_w=found.sigma_w, sigma_b=found.sigma_b, q=q, words=_words(phi, found))
    kept = gain(phi, q).gain
    return Scales(sigma_w=kept, sigma_b=0.0, q=q, words=f"keeps the signal of {phi} at q = {q:.3g}")


def _is_critical(found: Recommendation) -> bool:
    return "cannot be critical" not in found.words


def _words(phi: Activation, found: Recommendation) -> str:
    if not _is_critical(found):
        return f"keeps the signal of {phi}, which cannot be critical"
    return f"edge of chaos of {phi}" + ("" if found.q == 1 else f" at q = {found.q:.3g}")


def _holds(phi: Activation, q: float, depth: int, width: int) -> bool:
    m = moments(phi, q)
    if not 0 < m.second < math.inf or not 0 < m.derivative_second < math.inf:
        return False
    bend = q * curvature(phi, q) / m.derivative_second
    # A corner bends at every scale, and no q would do: then the other two decide.
    bends = bend * depth / 2 > _TOLERANCE if math.isfinite(bend) else False
    drifts = (m.second / m.derivative_second / q * stability(phi, q, m) - 1) * depth > _TOLERANCE
    # d ln E[phi'²] / d ln q, by a central difference.
    slope = math.log(moments(phi, 1.01 * q).derivative_second / moments(phi, q / 1.01).derivative_second)
    shifts = abs(slope) / (2 * math.log(1.01)) * 2 / width * depth > _TOLERANCE
    return not (bends or drifts or shifts)
