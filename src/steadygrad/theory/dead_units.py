"""Dying ReLU: how likely a unit, a layer and a network are dead at birth, after a step, and how a leak revives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from steadygrad.errors import not_allowed

from .correlation_map import gap_map
from .gaussian import standard_rule
from .variance_map import check_scales


def dead_unit_probability(*, examples: int = 1, c: float = 0.0, shift: float = 0.0) -> float:
    """Return the probability that a unit's pre-activation is <= 0 on every one of m examples.

    The pre-activations are Gaussian with one correlation c between any two, u_i = sqrt(c) g + sqrt(1-c) e_i, so

        P = E_g[ Phi( -(shift + sqrt(c) g) / sqrt(1-c) )^m ].

    Args:
        examples: m, >= 1.
        c: correlation of two examples' pre-activations over draws of weight and bias, in [0, 1].
        shift: mean of the pre-activation in units of its standard deviation (a constant bias, or a step's effect).

    Raises:
        ValueError: for m < 1, or c outside [0, 1].

    References: Lu, Shin, Su and Karniadakis, "Dying ReLU and initialization", 2019, theorem 3.

    >>> dead_unit_probability(examples=1), round(dead_unit_probability(examples=3), 9)
    (0.5, 0.125)
    """
    if examples < 1:
        raise ValueError(not_allowed("examples", "is a number and must be >= 1", examples))
    if not 0 <= c <= 1:
        raise ValueError(not_allowed("c", "must be within [0, 1]: m examples have no negative common correlation", c))
    if examples == 1 or c == 1:
        return math.exp(float(log_ndtr(-shift)))
    width = math.sqrt((1 - c) / c) if c else math.inf
    # The power falls from 1 to 0 where Phi^m crosses 1/2, over a length of `width` in g.
    turn = (-shift / math.sqrt(c),) if c else (0.0,)
    z, w = standard_rule(turn, scale=min(1.0, 0.3 * width))
    log_p = log_ndtr(-(shift + math.sqrt(c) * z) / math.sqrt(1 - c))
    return float(w @ np.exp(examples * log_p))


@dataclass(frozen=True, kw_only=True)
class BornDead:
    """Probabilities that a ReLU network is dead at birth.

    Attributes:
        one_input: P(some hidden layer is all zero on one input).
        all_inputs: P(some hidden layer is all zero on every example), layers taken as independent draws.
        layers: the second, layer by layer.
    """

    one_input: float
    all_inputs: float
    layers: tuple[float, ...]


def born_dead(
    widths: Sequence[int], *, examples: int = 1, c: float = 0.0, sigma_b: float = 0.0, bias: float = 0.0
) -> BornDead:
    """Return the probability that some hidden layer of a ReLU network is all zero at initialization.

    On one input, with symmetric weights and no bias, a layer of N units is all zero with probability 2^-N, so
    P = 1 - prod(1 - 2^-N_l). Over m examples a unit is dead with `dead_unit_probability` at the layer's correlation,
    which follows ReLU's correlation map; units of a layer are independent given their inputs. A layer that is zero on
    all inputs passes no gradient to what is below it: the network is born dead.

    Args:
        widths: of the hidden layers.
        examples: number of examples m.
        c: correlation of two examples' inputs, in [0, 1].
        sigma_b: standard deviation of the bias, for weights of He's scale and unit variance.
        bias: a constant bias, in units of the pre-activation's standard deviation.

    References: Lu, Shin, Su and Karniadakis, 2019, theorems 3 and 4.

    >>> round(born_dead([2] * 10).one_input, 6), round(born_dead([10] * 100).one_input, 6)
    (0.943686, 0.093083)
    """
    check_scales(0.0, sigma_b)
    if not widths or min(widths) < 1:
        raise ValueError(not_allowed("widths", "must be widths >= 1", list(widths)))
    if not math.isfinite(bias):
        raise ValueError(not_allowed("bias", "must be finite", bias))
    one = math.exp(float(log_ndtr(-bias)))
    layers = tuple(
        _layer_dead(n, examples, gap, bias) for n, gap in zip(widths, _gaps(len(widths), 1 - c, sigma_b), strict=True)
    )
    return BornDead(
        one_input=_any(tuple(one**n for n in widths)),
        all_inputs=_any(layers),
        layers=layers,
    )


def _gaps(depth: int, gap: float, sigma_b: float) -> list[float]:
    """1 - c of the pre-activations, layer by layer: share of the weights times the gap of the layer below."""
    share, out = 1 / (1 + sigma_b**2), []
    for _ in range(depth):
        out.append(share * gap)
        gap = float(gap_map("relu", 1.0, out[-1]))
    return out


def _layer_dead(n: int, examples: int, gap: float, bias: float) -> float:
    c = min(max(1 - gap, 0.0), 1.0)
    return dead_unit_probability(examples=examples, c=c, shift=bias) ** n


def _any(probabilities: Sequence[float]) -> float:
    return -math.expm1(sum(math.log1p(-p) if p < 1 else -math.inf for p in probabilities))


def dead_after_step(relative_step: float, *, fan_in: int, examples: int, c: float) -> float:
    """Return the probability that a unit is dead on all examples after a step against their common direction.

    The worst step of a given size moves the weights by relative_step |w| against the examples' mean. A mean of norm
    sqrt(c) |x| then lowers every pre-activation by relative_step sqrt(fan_in c) of its standard deviations
    |w||x|/sqrt(fan_in). A random step of the same size leaves the probability as it was, by symmetry.

    Args:
        relative_step: |dw| / |w|, >= 0: the learning rate times the gradient's norm over the weight's.
        fan_in: of the unit.
        examples: m.
        c: correlation of two examples' inputs to the unit, in [0, 1].

    >>> dead_after_step(0.0, fan_in=100, examples=1, c=0.5)
    0.5
    >>> dead_after_step(0.5, fan_in=100, examples=50, c=0.5) > 0.9
    True
    """
    if not 0 <= relative_step < math.inf:
        raise ValueError(not_allowed("relative_step", "is a ratio of norms and must be >= 0", relative_step))
    return dead_unit_probability(examples=examples, c=c, shift=-relative_step * math.sqrt(fan_in * c))


def he_gain(negative_slope: float) -> float:
    """Return He's gain sqrt(2 / (1 + a^2)) for slope a below 0.

    References: He et al., "Delving deep into rectifiers", 2015, eq. 15.

    >>> round(he_gain(0.25), 6)
    1.371989
    """
    if not math.isfinite(negative_slope):
        raise ValueError(not_allowed("negative_slope", "must be finite", negative_slope))
    return math.sqrt(2 / (1 + negative_slope**2))


def recovery_steps(negative_slope: float, *, distance: float, rate: float) -> float:
    """Return the steps after which a unit that is negative on all examples is alive again through its leak.

    With slope a the gradient that reaches the weights is a times that of an active unit, so a distance of `distance`
    standard deviations is covered in distance / (a rate) steps; never by ReLU itself, a = 0. The trained slope of a
    parametric ReLU does not help a unit that is not yet alive: its own gradient is the mean of u, which says nothing
    of the side on which u should be.

    Args:
        negative_slope: a, >= 0.
        distance: how far the nearest example's pre-activation lies below 0, in standard deviations, >= 0.
        rate: how far one step moves an active unit's pre-activation the right way, in the same unit, > 0.

    >>> recovery_steps(0.01, distance=0.5, rate=0.05), recovery_steps(0.0, distance=0.5, rate=0.05)
    (1000.0, inf)
    """
    if negative_slope < 0 or distance < 0 or rate <= 0:
        rule = "must be >= 0, >= 0 and > 0"
        raise ValueError(not_allowed("negative_slope, distance, rate", rule, (negative_slope, distance, rate)))
    return math.inf if negative_slope == 0 and distance else distance / (negative_slope * rate) if distance else 0.0
