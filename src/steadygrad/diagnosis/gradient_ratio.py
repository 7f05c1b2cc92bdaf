"""How the squared gradient of an example changes between the two ends of the trunk."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from .evidence import Measured
from .evidence.measured import Row
from .trainable_depth import is_lost, log_ratio


@dataclass(frozen=True, kw_only=True)
class GradientRatio:
    """Squared norms of one example's gradient, mean over examples.

    Attributes:
        first: path of the first layer of the trunk.
        last: path of its last layer.
        logarithm: of the first layer's over the last one's, each with respect to the layer's output.
        standard_error: of that ratio, from the first layer's over examples; None where its squares underflow.
    """

    first: str
    last: str
    logarithm: float
    standard_error: float | None

    @property
    def factor(self) -> float:
        """By how much the squared gradient is multiplied on its way back.

        >>> GradientRatio(first="0", last="2", logarithm=math.inf, standard_error=0.0).factor
        inf
        """
        return math.exp(self.logarithm) if self.logarithm < math.log(sys.float_info.max) else math.inf


def gradient_ratio(measured: Measured) -> GradientRatio | None:
    """Return the change; None where there is no trunk, or a gradient is missing, zero at its end or not finite.

    None, too, where it is zero at once and not step by step: something that is flat stands in its way, which no
    factor a layer describes.
    """
    anchors = [row for row in measured.anchors() if math.isfinite(measured.squared_gradient(row))]
    if len(anchors) < 2:
        return None
    first, last = anchors[0], anchors[-1]
    at_first, at_last = measured.squared_gradient(first), measured.squared_gradient(last)
    logarithm = log_ratio(at_first, at_last)
    if math.isnan(logarithm) or (at_first == 0 and not _faded(measured, anchors)):
        return None
    layer, call = first
    return GradientRatio(
        first=layer.path,
        last=last[0].path,
        logarithm=logarithm,
        standard_error=(layer.grad_q_high - layer.grad_q) * call.entries / at_last or None,
    )


def _faded(measured: Measured, anchors: list[Row]) -> bool:
    """Whether a gradient that is zero was small before: nearest to where it is zero, it is out of reach already."""
    left = [size for row in anchors if (size := measured.squared_gradient(row)) > 0]
    return bool(left) and is_lost(log_ratio(left[0], left[-1]))
