"""Half precision: which layers overflow, which gradients are lost, and the loss scale that saves them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import erf, erfc

from steadygrad.errors import not_allowed
from steadygrad.profile import LayerSignal, Profile

from .floating_point import FloatFormat, float_format


@dataclass(frozen=True, kw_only=True)
class LayerRange:
    """What a format keeps of one layer; entries are taken as Gaussian of the profile's second moments.

    Attributes:
        path: of the layer.
        overflow: expected share of activations beyond the largest number.
        subnormal: share of gradient entries below the smallest normal number, times the loss scale of 1.
        lost: share of gradient entries that become 0.
    """

    path: str
    overflow: float
    subnormal: float
    lost: float


@dataclass(frozen=True, kw_only=True)
class HalfPrecision:
    """What a format keeps of a network.

    Attributes:
        precision: name of the format.
        layers: a row a layer of the profile.
        overflowing: paths of layers of which more than one in a million activations overflows.
        losing: paths of layers of which more than 1% of the gradient becomes 0.
        loss_scale: a power of two that lifts the smallest gradient without the largest overflowing; NaN where no one
            scale does both.
        message: in words.
    """

    precision: str
    layers: tuple[LayerRange, ...]
    overflowing: tuple[str, ...]
    losing: tuple[str, ...]
    loss_scale: float
    message: str


OVERFLOW_SHARE = 1e-6
LOST_SHARE = 0.01


def half_precision(profile: Profile, *, precision: str = "float16") -> HalfPrecision:
    """Return what a number format keeps of the activations and gradients of a profile.

    P(|u| > largest) = erfc(largest / sqrt(2 q)); P(|g| < tiny) = erf(tiny / sqrt(2 grad_q)), with tiny the smallest
    normal number, or half the smallest subnormal for what is rounded to 0. The loss scale is the largest power of two
    that keeps the largest gradient (six standard deviations) a factor 16 below overflow.

    Args:
        profile: predicted or measured; its gradients in the units of the loss.
        precision: "float16", "bfloat16", "float32" or "float64".

    References: Micikevicius et al., "Mixed precision training", 2018, section 3.2.

    >>> from steadygrad.theory import mlp
    >>> half_precision(mlp(depth=40, width=256, activation="relu", init="torch-default")).losing[0]
    '0'
    """
    form = float_format(precision)
    if not len(profile):
        raise ValueError(not_allowed("profile", "must have a layer", len(profile)))
    rows = tuple(_row(layer, form) for layer in profile)
    scale = _loss_scale([layer.grad_q for layer in profile], form)
    overflowing = tuple(row.path for row in rows if row.overflow > OVERFLOW_SHARE)
    losing = tuple(row.path for row in rows if row.lost > LOST_SHARE)
    return HalfPrecision(
        precision=precision,
        layers=rows,
        overflowing=overflowing,
        losing=losing,
        loss_scale=scale,
        message=_message(precision, overflowing, losing, scale),
    )


def _row(layer: LayerSignal, form: FloatFormat) -> LayerRange:
    return LayerRange(
        path=layer.path,
        overflow=_beyond(form.largest, layer.q),
        subnormal=_below(form.smallest_normal, layer.grad_q),
        lost=_below(form.smallest / 2, layer.grad_q),
    )


def _beyond(limit: float, second: float) -> float:
    if not second > 0:
        return math.nan if math.isnan(second) else 0.0
    return float(erfc(limit / math.sqrt(2 * second))) if second < math.inf else 1.0


def _below(limit: float, second: float) -> float:
    if not second > 0:
        return math.nan if math.isnan(second) else 1.0
    return float(erf(limit / math.sqrt(2 * second))) if second < math.inf else 0.0


def _loss_scale(seconds: list[float], form: FloatFormat) -> float:
    sizes = [math.sqrt(g) for g in seconds if 0 < g < math.inf]
    if not sizes:
        return math.nan
    scale = 2.0 ** math.floor(math.log2(form.largest / 16 / (6 * max(sizes))))
    return scale if _below(form.smallest / 2, (scale * min(sizes)) ** 2) <= LOST_SHARE else math.nan


def _message(precision: str, overflowing: tuple[str, ...], losing: tuple[str, ...], scale: float) -> str:
    forward = f"Activations of {', '.join(overflowing)} overflow." if overflowing else "No activation overflows."
    if not losing:
        return f"{precision}: {forward} No gradient is lost."
    cure = f"a loss scale of {scale:g} saves them" if math.isfinite(scale) else "no one loss scale saves them"
    return f"{precision}: {forward} Gradients of {', '.join(losing)} become 0; {cure}."
