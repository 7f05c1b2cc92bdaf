"""Signals at the steadiest point of the edge of chaos, from half and from twice the variance that it keeps."""

from __future__ import annotations

import math
from typing import Any

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.builtin.marks import Row, beside, panel, point
from steadygrad.study.builtin.note.depth import spread
from steadygrad.study.builtin.seeds import mean_and_error, within_errors

from .critical import Edge, steadiest_edge, variances
from .effort import Effort
from .one_input import FEATURES, OUTPUTS, Seen, one_input

ACTIVATIONS = ("gelu", "silu")
FACTORS = (0.5, 2.0)


def section(effort: Effort) -> Section:
    """Pass one input through networks with the biases and weights of the edge, twice as deep."""
    edges = {name: steadiest_edge(name) for name in ACTIVATIONS}
    seen = {(name, f): _seen(name, f, edges[name], effort) for name in ACTIVATIONS for f in FACTORS}
    checks = [check for name in ACTIVATIONS for check in _returns(name, edges[name], seen)]
    checks += [_gradient(name, edges[name], seen[name, FACTORS[0]], effort) for name in ACTIVATIONS]
    said = "; ".join(
        f"{name}: sigma_w = {e.sigma_w:.3f}, sigma_b = {e.sigma_b:.3f}, q = {e.q:.3g}" for name, e in edges.items()
    )
    return Section(
        name="stable-edge",
        title="With a bias, at a larger variance",
        claim="GELU and SiLU networks have a critical point that they stay at.",
        prediction="V' = s / chi_1 on the edge of chaos: above 1 at q = 1, below 1 at large q, where both look like "
        f"ReLU and a bias of variance q (1 - 1/chi_1) holds them. Steadiest: {said}.",
        chart=beside(*(_panel(name, edges[name], seen, effort) for name in ACTIVATIONS)),
        checks=tuple(checks),
        verdict="it holds. From half and from twice that variance signals come back to it, as slowly as predicted "
        f"({', '.join(f'{-1 / math.log(e.slope):.0f} layers for {name}' for name, e in edges.items())}), and the "
        "gradient keeps its size.",
    )


def _seen(name: str, factor: float, edge: Edge, effort: Effort) -> Seen:
    return one_input(
        q=_input(factor, edge),
        seeds=effort.draws // 2,
        depth=2 * effort.layers,
        width=effort.width,
        activation=name,
        sigma_w=edge.sigma_w,
        sigma_b=edge.sigma_b,
    )


def _input(factor: float, edge: Edge) -> float:
    """What gives the first layer that multiple of the edge's q."""
    return (factor * edge.q - edge.sigma_b**2) / edge.sigma_w**2


def _returns(name: str, edge: Edge, seen: dict[tuple[str, float], Seen]) -> list[Check]:
    apart = seen[name, FACTORS[1]].log_q - seen[name, FACTORS[0]].log_q
    layers = apart.shape[1]
    low, high = (variances(name, f * edge.q, layers, sigma_w=edge.sigma_w, sigma_b=edge.sigma_b) for f in FACTORS)
    return [
        within_errors(
            f"ln q from 2 q* less that from q*/2, layer {layer}, {name}",
            math.log(high[layer - 1] / low[layer - 1]),
            apart[:, layer - 1],
        )
        for layer in (layers // 4, layers // 2, layers)
    ]


def _gradient(name: str, edge: Edge, seen: Seen, effort: Effort) -> Check:
    profile = theory.mlp(
        depth=2 * effort.layers,
        width=effort.width,
        activation=name,
        init=(edge.sigma_w, edge.sigma_b),
        q=_input(FACTORS[0], edge),
        inputs=FEATURES,
        outputs=OUTPUTS,
    )
    first = next(row for row in profile if row.kind == "Linear")
    # The gradient at the logits is that of ten numbers, however wide the network.
    sd = math.hypot(spread(first.grad_q_low, first.grad_q_high), math.sqrt(2 / OUTPUTS))
    values = seen.log_grad[:, 0]
    return within_errors(f"ln of the squared gradient's way back, {name}", math.log(first.grad_q), values, sd=sd)


def _panel(name: str, edge: Edge, seen: dict[tuple[str, float], Seen], effort: Effort) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for factor in FACTORS:
        of = f"from {factor:g} q*"
        infinite = variances(name, factor * edge.q, 2 * effort.layers, sigma_w=edge.sigma_w, sigma_b=edge.sigma_b)
        lines += [{"x": i + 1, "y": q / edge.q, "of": of} for i, q in enumerate(infinite)]
        for i, logs in enumerate(seen[name, factor].log_q.T):
            mean, error = mean_and_error(logs)
            middle = math.exp(mean) / edge.q
            points.append({**point(i + 1, middle, 0.0, of), "low": middle * math.exp(-error),
                           "high": middle * math.exp(error)})  # fmt: skip
    return panel(f"{name} on the edge", x="layer", y="q / q*", lines=lines, points=points, y_log=True)
