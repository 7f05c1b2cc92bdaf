"""Softmax at initialization: what loss, confidence and entropy independent Gaussian logits give, and when they break.

With K logits z_i ~ N(0, s^2) and S = sum exp(z_i), expectations of functions of S are single integrals over
phi(t) = E[exp(-t e^z)], its Laplace transform being phi^K: E[ln S] = int (e^-t - phi(t)^K) dt/t and
E[1/S^2 ...] likewise; no logit is sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from steadygrad.errors import not_allowed

from .activations.activation import Array
from .floating_point import float_format
from .gaussian import edges, panel_nodes
from .roots import bracketed

_ORDER = 16


@dataclass(frozen=True, kw_only=True)
class SoftmaxAtInit:
    """Expectations over draws of the logits; the label is independent of them.

    Attributes:
        loss: expected cross-entropy, E[ln sum exp z].
        uninformed: ln K, the loss of a uniform guess.
        largest_probability: E[max_i p_i].
        entropy: E[-sum p_i ln p_i], in nats; ln K for a uniform softmax.
        collision: E[sum p_i^2], 1/K for a uniform softmax.
        gradient: second moment of an entry of the gradient p - onehot, (1 - 2/K + collision)/K.
    """

    loss: float
    uninformed: float
    largest_probability: float
    entropy: float
    collision: float
    gradient: float


def softmax_at_init(*, classes: int, logit_scale: float) -> SoftmaxAtInit:
    """Return expected loss, largest probability and entropy of a softmax over K independent N(0, s^2) logits.

    E[sum p^2] = K int t E[e^(2z - t e^z)] phi^(K-1) dt, entropy = E[ln S] - s^2 (1 - E[sum p^2]) (Stein's lemma),
    E[max p] = K E_z int e^-x E[exp(-x e^(z'-z)); z' < z]^(K-1) dx. For small s the loss is ln K + s^2 (1 - 1/K)/2.

    Args:
        classes: K, >= 1.
        logit_scale: s, the logits' standard deviation, in [0, 30].

    Raises:
        ValueError: for K < 1, or s outside [0, 30].

    References: Derrida, "Random-energy model", 1981 (E[ln S] at large K).

    >>> at = softmax_at_init(classes=10, logit_scale=1.0)
    >>> round(at.loss, 6), round(at.largest_probability, 6), round(at.entropy, 6)
    (2.728864, 0.320264, 1.923551)
    """
    _check(classes, logit_scale)
    s, uniform = float(logit_scale), math.log(classes)
    if s == 0 or classes == 1:
        p2 = 1 / classes
        return _result(classes, uniform, p2, uniform, p2)
    loss, p2 = _log_sum(classes, s)
    return _result(classes, loss, _largest(classes, s), loss - s * s * (1 - p2), p2)


def collision_at_init(*, classes: int, logit_scale: float) -> float:
    """Return E[sum p^2] of a softmax over K independent N(0, s^2) logits alone: see `softmax_at_init`.

    >>> collision_at_init(classes=10, logit_scale=1.0) == softmax_at_init(classes=10, logit_scale=1.0).collision
    True
    """
    _check(classes, logit_scale)
    s = float(logit_scale)
    return 1 / classes if s == 0 or classes == 1 else _log_sum(classes, s)[1]


def _result(classes: int, loss: float, largest: float, entropy: float, p2: float) -> SoftmaxAtInit:
    return SoftmaxAtInit(
        loss=loss,
        uninformed=math.log(classes),
        largest_probability=largest,
        entropy=max(entropy, 0.0),
        collision=p2,
        gradient=(1 - 2 / classes + p2) / classes,
    )


def _check(classes: int, logit_scale: float) -> None:
    if classes < 1:
        raise ValueError(not_allowed("classes", "is a number and must be >= 1", classes))
    if not 0 <= logit_scale <= 30:
        raise ValueError(not_allowed("logit_scale", "is a standard deviation within [0, 30]", logit_scale))


@cache
def _nodes() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(_ORDER)


def _panels(low: float, high: float, width: float) -> tuple[Array, Array]:
    """Plain Gauss-Legendre nodes and weights on even panels."""
    count = max(1, math.ceil((high - low) / width))
    half = (high - low) / count / 2
    x, w = _nodes()
    centres = low + half * (2 * np.arange(count) + 1)
    return (centres[:, None] + half * x).ravel(), np.tile(half * w, count)


def _log_sum(classes: int, s: float) -> tuple[float, float]:
    """E[ln S] and E[sum p^2], integrated over x = ln t."""
    # phi^K differs from e^-t only where t is between exp(-largest logit) and exp(-smallest), give or take e^40.
    x, w_x = _panels(-9 * s - math.log(classes) - 38, 9 * s + 7, 1.0)
    z, w_z = panel_nodes(np.array(edges([], first=1.0, widest=min(1.0, 1.5 / s), reach=10.0)))
    log_te = x[:, None] + s * z
    te = np.exp(np.minimum(log_te, 700.0))
    log_phi = np.log1p(np.maximum(np.expm1(-te) @ w_z, -1 + 1e-16))
    loss = float(w_x @ (np.exp(-np.exp(np.minimum(x, 700.0))) - np.exp(classes * log_phi)))
    inner = (te**2 * np.exp(-te)) @ w_z
    p2 = classes * float(w_x @ (inner * np.exp((classes - 1) * log_phi)))
    return loss, p2


def _largest(classes: int, s: float) -> float:
    """E[max p] over x and the largest logit z; the others lie at z' = z + y/s with y < 0."""
    z, w_z = panel_nodes(np.array(edges([], first=1.0, widest=min(1.0, 3.0 / s), reach=10.0)))
    x, w_x = _panels(-38 - math.log(classes), 4.0, 1.5)
    # Below y = -45 exp(-x e^y) is 1 to every digit; z' below -20 standard deviations does not occur.
    y, w_y = _panels(-min(45.0, 20 * s), 0.0, min(1.5, s))
    density = np.exp(-0.5 * (z + y[:, None] / s) ** 2) / (s * math.sqrt(2 * math.pi))
    inner = np.expm1(-np.exp(x[:, None] + y)) @ (w_y[:, None] * density) + ndtr(z)
    power = np.exp((classes - 1) * np.log(np.maximum(inner, 1e-300)))
    return classes * float(w_z @ (power.T @ (w_x * np.exp(x - np.exp(x)))))


def top_gap_exceeds(gap: float, *, classes: int, logit_scale: float) -> float:
    """Return the probability that the largest of K logits leads the second by more than `gap`.

    P = K int phi(z) Phi(z - gap/s)^(K-1) dz.

    >>> round(top_gap_exceeds(0.0, classes=7, logit_scale=2.0), 12)
    1.0
    """
    _check(classes, logit_scale)
    z, w = panel_nodes(np.array(edges([], first=1.0, widest=0.5, reach=12.0)))
    return classes * float(w @ np.exp((classes - 1) * log_ndtr(z - gap / logit_scale)))


@dataclass(frozen=True, kw_only=True)
class LogitLimits:
    """Standard deviations of the logits at which one draw of K breaks with probability 1/2.

    Attributes:
        overflow: exp of the largest logit overflows where the maximum is not subtracted.
        saturation: the largest probability rounds to 1: the lead over the second exceeds ln(1/u), so the gradient of
            a rightly classified example is rounding.
        exp_overflows_above: ln of the largest number of the format.
    """

    overflow: float
    saturation: float
    exp_overflows_above: float


def logit_limits(*, classes: int, precision: str = "float16") -> LogitLimits:
    """Return the logit scales at which an unshifted exp overflows and at which softmax saturates.

    overflow: ln(largest) / Phi^-1(2^(-1/K)), the median of the largest of K; saturation: the s at which the lead of
    the largest over the second exceeds ln(1/u) in half of the draws.

    Args:
        classes: K, >= 2.
        precision: a name in `FORMATS`.

    >>> limits = logit_limits(classes=1000)
    >>> round(limits.exp_overflows_above, 2), round(limits.overflow, 3)
    (11.09, 3.468)
    """
    if classes < 2:
        raise ValueError(not_allowed("classes", "is a number and must be >= 2", classes))
    form = float_format(precision)
    top = math.log(form.largest)
    lead = -math.log(form.roundoff)
    # P depends on gap/s alone: solve for the ratio once.
    half = bracketed(lambda r: top_gap_exceeds(r, classes=classes, logit_scale=1.0) - 0.5, 1e-9, 10.0)
    return LogitLimits(
        overflow=top / float(ndtri(2 ** (-1 / classes))), saturation=lead / half, exp_overflows_above=top
    )
