"""Signals at the unit gain, from just below and just above the variance that it keeps."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import altair as alt
import numpy as np

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.builtin.marks import Row, below, beside, panel, point
from steadygrad.study.builtin.seeds import SIGMAS, mean_and_error, within_errors

from .critical import variances
from .effort import Effort
from .one_input import Seen, one_input

ACTIVATIONS = ("gelu", "silu", "mish", "elu", "tanh")
SHOWN = ("gelu", "silu", "tanh")
CATALOGUE = (
    "relu", "leaky_relu", "gelu", "silu", "mish", "hardswish", "softplus", "elu", "selu", "tanh", "erf", "hardtanh",
    "sin", "sigmoid",
)  # fmt: skip
STARTS = (0.9, 1.1)
# Layers whose deviations are still small beside 1, which the slope at the fixed point is for.
COMPARED = (2, 4, 8)
SPREAD_AT = 4


def section(effort: Effort) -> Section:
    """Pass one input through networks at their unit gain, with q = .9 and 1.1 in the first layer."""
    seen = {(name, start): _seen(name, start, effort) for name, start in product(ACTIVATIONS, STARTS)}
    checks = [check for name in ACTIVATIONS for check in _parting(name, seen)]
    checks += [_spread(name, seen[name, STARTS[1]], effort) for name in SHOWN]
    last = seen["silu", STARTS[0]].log_q[:, -1], seen["silu", STARTS[1]].log_q[:, -1]
    lost = float(np.mean(np.abs(np.concatenate(last)) > 1))
    return Section(
        name="unit-gain",
        title="At the unit gain",
        claim="The gain that keeps unit variance, E[φ²]^-½, keeps the signal through depth.",
        prediction="A deviation from q = 1 grows by s = d ln V / d ln q a layer: s > 1 for GELU, SiLU and Mish (1.14, "
        "1.17, 1.08), s < 1 for ELU and tanh. A width of N adds κ/N a layer to the variance of ln q, which s "
        "multiplies as well.",
        chart=below(beside(*(_panel(name, seen, effort) for name in SHOWN)), _slopes()),
        checks=tuple(checks),
        verdict=f"it does for ELU and tanh. GELU, SiLU and Mish leave q = 1 on either side, by what the width adds as "
        f"much as by where they start: at layer {effort.layers} q of {lost:.0%} of the SiLU networks is off by more "
        "than e.",
    )


def _seen(name: str, start: float, effort: Effort) -> Seen:
    gain = theory.gain(name).gain
    return one_input(
        q=start / gain**2,
        seeds=effort.draws,
        depth=effort.layers,
        width=effort.width,
        activation=name,
        sigma_w=gain,
    )


def _parting(name: str, seen: dict[tuple[str, float], Seen]) -> list[Check]:
    """How far inputs of q = .9 and 1.1 in one direction lie apart, which cancels most of the width's part."""
    apart = seen[name, STARTS[1]].log_q - seen[name, STARTS[0]].log_q
    low, high = (variances(name, q, max(COMPARED), sigma_w=theory.gain(name).gain) for q in STARTS)
    return [
        within_errors(
            f"ln q from {STARTS[1]} less that from {STARTS[0]}, layer {layer}, {name}",
            math.log(high[layer - 1] / low[layer - 1]),
            apart[:, layer - 1],
        )
        for layer in COMPARED
    ]


def spread(name: str, layer: int, width: int) -> float:
    """Return the standard deviation of ln q of a layer, to first order in 1/N: (2 + κ Σ s^2k)/N, k below layer - 1.

    >>> round(spread("relu", 3, 100) ** 2, 3)
    0.12
    """
    gain = theory.gain(name)
    grown = sum(gain.stability ** (2 * k) for k in range(layer - 1))
    return math.sqrt((2 + gain.kappa * grown) / width)


def _spread(name: str, seen: Seen, effort: Effort) -> Check:
    predicted = spread(name, SPREAD_AT, effort.width)
    measured = float(seen.log_q[:, SPREAD_AT - 1].std(ddof=1))
    error = predicted / math.sqrt(2 * (effort.draws - 1))
    return Check(
        what=f"standard deviation of ln q, layer {SPREAD_AT}, {name}",
        predicted=predicted,
        measured=measured,
        error=error,
        allowed=SIGMAS * error,
    )


def _panel(name: str, seen: dict[tuple[str, float], Seen], effort: Effort) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for start in STARTS:
        of = f"q = {start} at layer 1"
        infinite = variances(name, start, effort.layers, sigma_w=theory.gain(name).gain)
        lines += [{"x": i + 1, "y": q, "of": of} for i, q in enumerate(infinite)]
        for i, logs in enumerate(seen[name, start].log_q.T):
            mean, error = mean_and_error(logs)
            made = point(i + 1, math.exp(mean), 0.0, of)
            points.append({**made, "low": math.exp(mean - error), "high": math.exp(mean + error)})
    return panel(f"{name} at its unit gain", x="layer", y="q", lines=lines, points=points, y_log=True, width=240)


def _slopes() -> Any:
    """How fast a deviation grows a layer, over the catalogue."""
    rows = [{"name": name, "s": theory.gain(name).stability} for name in CATALOGUE]
    rows.sort(key=lambda row: -float(str(row["s"])))
    across = alt.X("s:Q", title="s, growth of a deviation from q = 1 a layer", scale=alt.Scale(zero=True))
    dots = alt.Chart({"values": rows}).mark_point(filled=True, size=50, opacity=1)
    dots = dots.encode(x=across, y=alt.Y("name:N", title=None, sort=None))
    one = alt.Chart({"values": [{"s": 1.0}]}).mark_rule(strokeDash=[4, 3]).encode(x="s:Q")
    return alt.layer(one, dots).properties(width=280, height=alt.Step(15), title="The catalogue at its unit gains")
