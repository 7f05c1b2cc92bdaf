"""The gain of an activation: the weight scale that keeps the second moment, and whether it keeps it for long."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steadygrad.errors import not_allowed

from .activations import activation
from .gaussian import check_variance
from .moments import Moments, Spec, moments

# A slope is told from 1 by more than quadrature error; 1e-9 is a hundred times it.
_TELLS = 1e-9


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What keeps the signal of unit variance, and how it behaves there.

    Attributes:
        gain: (q / E[phi^2])^1/2, the sigma_w for which q is a fixed point without bias.
        centred_gain: (q / Var phi)^1/2, the same for the centred signal.
        chi_1: gain^2 E[phi'^2], the factor of the squared gradient a layer at that gain.
        stability: s = d ln E[phi^2] / d ln q; above 1 the fixed point is unstable.
        kappa: Var(phi^2) / E[phi^2]^2, how much one unit's square varies.
        verdict: the same in words.
    """

    gain: float
    centred_gain: float
    chi_1: float
    stability: float
    kappa: float
    verdict: str


def gain(phi: Spec, q: float = 1.0) -> Gain:
    """Return the gain of an activation at pre-activation variance q.

    gain = (q / E[phi(sqrt(q) z)^2])^1/2, chi_1 = gain^2 E[phi'^2], s = d ln V / d ln q with V = E[phi^2], where
    dV/d ln q = E[u phi phi'] for a phi without jumps.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activation, > 0.

    Raises:
        ValueError: where q is not above 0, or phi carries no signal there.

    References: Schoenholz et al., "Deep information propagation", 2017, eq. 5; He et al., 2015, eq. 10.

    >>> g = gain("gelu")
    >>> round(g.gain, 6), round(g.chi_1, 6), round(g.stability, 6)
    (1.53353, 1.072032, 1.144063)
    """
    entry = activation(phi)
    if check_variance(q) == 0:
        raise ValueError(not_allowed("q", "must be > 0 for a gain", q))
    m = moments(entry, q)
    if not 0 < m.second < math.inf:
        raise ValueError(not_allowed("activation", f"must have a finite second moment > 0 at q = {q:g}", m.second))
    squared = q / m.second
    chi_1, s = squared * m.derivative_second, stability(entry, q, m)
    centred = math.sqrt(q / m.variance) if m.variance > 1e-14 * m.second else math.inf
    return Gain(
        gain=math.sqrt(squared),
        centred_gain=centred,
        chi_1=chi_1,
        stability=s,
        kappa=m.kappa,
        verdict=_verdict(chi_1, s),
    )


def stability(phi: Spec, q: float, known: Moments | None = None) -> float:
    """Return s = d ln E[phi^2] / d ln q = (E[z^2 phi^2] / E[phi^2] - 1) / 2, which holds with jumps too.

    >>> round(stability("relu", 3.0), 12)
    1.0
    """
    m = known or moments(phi, q)
    return m.tilt / (2 * m.second)


def _verdict(chi_1: float, s: float) -> str:
    norm = _norm_words(s)
    if chi_1 > 1 + _TELLS:
        return f"{norm} Gradients grow by {chi_1:.4g} a layer (squared): chaotic."
    if chi_1 < 1 - _TELLS:
        return f"{norm} Gradients shrink by {chi_1:.4g} a layer (squared): ordered."
    return f"{norm} Gradients keep their size: critical."


def _norm_words(s: float) -> str:
    if s > 1 + _TELLS:
        return (
            f"The fixed variance is unstable (s = {s:.4g} > 1): a plain network drifts away from it, by this factor of "
            "the relative error a layer; normalization removes it."
        )
    if s < 1 - _TELLS:
        return f"The fixed variance is stable (s = {s:.4g} < 1)."
    return "Every variance is fixed (s = 1)."
