"""Clipping at initialization: the expected gradient norm, its spread, and the share of networks a threshold clips."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr

from steadygrad.errors import not_allowed
from steadygrad.profile import LayerSignal, Profile


@dataclass(frozen=True, kw_only=True)
class GradientNorm:
    """The law of the global gradient norm at initialization, over draws of the weights.

    Attributes:
        median: of the norm.
        low: lower end of the 95% band.
        high: upper end.
        layers: (path, median norm of the weight's gradient), a Linear each.
    """

    median: float
    low: float
    high: float
    layers: tuple[tuple[str, float], ...]

    def clipped(self, max_norm: float) -> float:
        """Return the probability that the norm exceeds a threshold, the log of the norm taken as Gaussian.

        >>> GradientNorm(median=2.0, low=1.0, high=4.0, layers=()).clipped(2.0)
        0.5
        """
        if not max_norm >= 0:
            raise ValueError(not_allowed("max_norm", "is a norm and must be >= 0", max_norm))
        if max_norm == 0 or math.isinf(max_norm):
            return float(max_norm == 0)
        spread = math.log(self.high / self.low) / (2 * 1.959963984540054)
        distance = math.log(self.median / max_norm)
        return float(ndtr(distance / spread)) if spread else float(distance > 0)


def gradient_norm(
    profile: Profile, *, batch_size: int = 1, output_gradient: float = 1.0, input_q: float = 1.0
) -> GradientNorm:
    """Return the law of the global norm of the weights' gradients that a profile implies.

    A weight matrix has |dL/dW|^2 = fan_in fan_out q_in g / B, with q_in the second moment of its input, g that of the
    gradient at its output, and B examples whose output gradients are independent: the mean loss averages them. The
    band of the sum is that of its largest term, since the layers share their fluctuations.

    Args:
        profile: of `mlp`: unit output gradients, rows in the order of execution.
        batch_size: B, >= 1.
        output_gradient: second moment of the loss's gradient at an output entry (`softmax_at_init().gradient`).
        input_q: second moment of the network's input.

    References: Pascanu, Mikolov and Bengio, 2013, section 3.2 (what clipping is for).

    >>> from steadygrad.theory import mlp
    >>> norm = gradient_norm(mlp(depth=10, width=100, activation="relu", init="he-normal"), batch_size=100)
    >>> norm.low < norm.median < norm.high
    True
    """
    if batch_size < 1:
        raise ValueError(not_allowed("batch_size", "is a number and must be >= 1", batch_size))
    rows = list(_weights(profile, input_q))
    if not rows:
        raise ValueError(not_allowed("profile", "must have a layer with weights", len(profile)))
    scale = output_gradient / batch_size
    terms = [(row, (row.fan_in or 0) * (row.fan_out or 0) * q * row.grad_q * scale) for row, q in rows]
    total = sum(value for _, value in terms)
    top = max(terms, key=lambda term: term[1])[0]
    median = math.sqrt(total)
    return GradientNorm(
        median=median,
        low=median * math.sqrt(top.grad_q_low / top.grad_q),
        high=median * math.sqrt(top.grad_q_high / top.grad_q),
        layers=tuple((row.path, math.sqrt(value)) for row, value in terms),
    )


def _weights(profile: Profile, input_q: float) -> list[tuple[LayerSignal, float]]:
    """Each row with weights, and the second moment of what it takes in."""
    before = [input_q, *(row.q for row in profile)]
    return [(row, q) for row, q in zip(profile, before, strict=False) if row.fan_in]
