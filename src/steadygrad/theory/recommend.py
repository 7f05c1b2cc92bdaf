"""What to initialize a network of a given activation with, in words and as code."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .activations import activation
from .gain import gain
from .moments import Spec, moments


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Scales for a plain network, and how to set them.

    Attributes:
        sigma_w: the weight's standard deviation times sqrt(fan_in).
        sigma_b: the bias's standard deviation.
        q: the pre-activation variance that they keep.
        words: what to do and why.
        code: the same for one layer named `layer`.
    """

    sigma_w: float
    sigma_b: float
    q: float
    words: str
    code: str


def recommend(phi: Spec, *, q: float = 1.0) -> Recommendation:
    """Return the initialization at which neither the signal nor the gradient of a deep plain network dies.

    The critical scales at variance q are sigma_w^2 = 1/E[phi'^2] and sigma_b^2 = q - sigma_w^2 E[phi^2], where that
    is not negative; else (chi_1 < 1 at the gain) the gain itself, which keeps the signal while gradients shrink.

    Args:
        phi: a name, an `Activation` or a callable.
        q: the pre-activation variance wanted, > 0.

    References: Schoenholz et al., 2017, section 3; Hayou, Doucet and Rousseau, 2019, section 3.

    >>> r = recommend("relu")
    >>> round(r.sigma_w, 6), r.sigma_b
    (1.414214, 0.0)
    """
    entry = activation(phi)
    at = gain(entry, q)
    critical = 1 / moments(entry, q).derivative_second if at.chi_1 else math.inf
    bias = q * (1 - 1 / at.chi_1) if at.chi_1 else -math.inf
    if bias < -1e-9 * q:
        return _made(at.gain, 0.0, q, f"{entry} cannot be critical at q = {q:g}: {at.verdict} Add normalization.")
    sigma_w, sigma_b = math.sqrt(critical), math.sqrt(max(bias, 0.0)) if bias > 1e-9 * q else 0.0
    slope = at.stability / at.chi_1
    words = f"The edge of chaos of {entry} at q = {q:g}: gradients keep their size."
    if slope > 1 + 1e-9:
        words += f" The variance is unstable there (slope {slope:.4g} > 1): add normalization, or keep the net shallow."
    return _made(sigma_w, sigma_b, q, words)


def _made(sigma_w: float, sigma_b: float, q: float, words: str) -> Recommendation:
    weight = f"torch.nn.init.normal_(layer.weight, std={sigma_w:.6g} / layer.in_features**0.5)"
    bias = f"normal_(layer.bias, std={sigma_b:.6g})" if sigma_b else "zeros_(layer.bias)"
    return Recommendation(sigma_w=sigma_w, sigma_b=sigma_b, q=q, words=words, code=f"{weight}\ntorch.nn.init.{bias}")
