"""Trained accuracy over sigma_w at several depths, without a bias, and at the steadiest edge."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import Row, below, beside, panel, point
from steadygrad.study.builtin.seeds import SIGMAS, clearly_above, mean_and_error
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .critical import kept_gain, steadiest_edge
from .effort import Effort

ACTIVATIONS = ("gelu", "silu")
LOW, HIGH = 1.2, 2.0
CHANCE = 0.1
# The comparison has so many times the seeds of the grid. Deep networks differ by about 0.3 in accuracy from scale to
# scale, and by 0.25 from seed to seed, where rounding decides too: five standard errors of 8 seeds would be 0.44.
MORE_SEEDS = 8


def section(bench: Bench, effort: Effort) -> Section:
    """Train over sigma_w and depth, and at the unit gain and the edge."""
    grid, few = bench.run(_grid(effort)), bench.run(_few(effort))
    pair = {name: few.where(activation=name) for name in ACTIVATIONS}
    centres = {(a, d): _centre(grid.where(activation=a, depth=d)) for a in ACTIVATIONS for d in effort.depths}
    checks = [_check(a, d, at, effort) for (a, d), at in centres.items() if d > effort.depths[0]]
    checks += [_better(name, pair[name], effort) for name in ACTIVATIONS]
    deepest = effort.depths[-1]
    found = "; ".join(
        f"{a}: {math.exp(np.mean(centres[a, deepest])):.3f}, for {kept_gain(a):.3f} predicted and a unit gain of "
        f"{theory.gain(a).gain:.3f}"
        for a in ACTIVATIONS
    )
    return Section(
        name="trained-gain",
        title="Scales that train",
        claim="GELU and SiLU networks train at their unit gain.",
        prediction="Without a bias the scales that train close in, with depth, on the sigma_w at which "
        "E[φ(sigma_w z)²] = 1, below the unit gain: the first layer gives q = sigma_w², and from there q must stay.",
        chart=below(
            beside(*(_panel(name, grid, effort) for name in ACTIVATIONS)),
            beside(*(_edge_panel(name, pair[name]) for name in ACTIVATIONS)),
        ),
        checks=tuple(checks),
        verdict=f"shallow ones do, on any scale. Deep ones train in a window about the predicted scale (centre at "
        f"depth {deepest}, {found}) that closes with depth; on the edge, with its bias, they train deeper than "
        "at either scale without one.",
    )


def _fixed(effort: Effort) -> dict[str, Any]:
    return {"width": effort.trained_width, "steps": effort.steps, "learning_rate": 0.01, "curve": 0}


def _grid(effort: Effort) -> Spec:
    return Spec.of(
        name="gains",
        fixed={**_fixed(effort), "sigma_b": 0.0},
        product={
            "activation": list(ACTIVATIONS),
            "depth": list(effort.depths),
            "sigma_w": {"start": LOW, "stop": HIGH, "count": effort.scales},
        },
        seeds=effort.seeds,
    )


def _few(effort: Effort) -> Spec:
    """The unit gain, the scale that is kept, and the edge."""
    rows = [
        (name, sigma_w, sigma_b)
        for name in ACTIVATIONS
        for edge in [steadiest_edge(name)]
        for sigma_w, sigma_b in [(theory.gain(name).gain, 0.0), (kept_gain(name), 0.0), (edge.sigma_w, edge.sigma_b)]
    ]
    names = ("activation", "sigma_w", "sigma_b")
    return Spec.of(
        name="edges",
        fixed=_fixed(effort),
        product={"depth": [*effort.depths, effort.depths[-1] * 4 // 3]},
        zip=[dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))],
        seeds=MORE_SEEDS * effort.seeds,
    )


def _centre(cell: Results) -> list[float]:
    """The mean of ln sigma_w of each seed, weighted by accuracy above chance."""
    centres = []
    for _, one in cell.by("seed"):
        weights = np.maximum(one.column("train_accuracy") - CHANCE, 0.0)
        centres.append(float(np.average(np.log(one.column("sigma_w")), weights=weights + 1e-9)))
    return centres


def _check(name: str, depth: int, centres: list[float], effort: Effort) -> Check:
    mean, error = mean_and_error(centres)
    step = (HIGH - LOW) / (effort.scales - 1)
    return Check(
        what=f"centre of the ln sigma_w that train, depth {depth}, {name}",
        predicted=math.log(kept_gain(name)),
        measured=mean,
        error=error,
        allowed=SIGMAS * error + step / kept_gain(name) / 2,
    )


def _better(name: str, pair: Results, effort: Effort) -> Check:
    depth = max(pair.column("depth"))
    at = {key[0]: cell.column("test_accuracy") for key, cell in pair.where(depth=int(depth)).by("sigma_b")}
    edge = max(at)
    unit = pair.where(depth=int(depth), sigma_w=theory.gain(name).gain).column("test_accuracy")
    return clearly_above(
        f"accuracy on the edge less that at the unit gain, depth {depth}, {name}", 0.0, at[edge] - unit
    )


def _panel(name: str, grid: Results, effort: Effort) -> Any:
    means = grid.where(activation=name).mean("train_accuracy", by=["depth", "sigma_w"])
    points = [point(sigma_w, mean, error, f"depth {depth}") for (depth, sigma_w), mean, error in means]
    joined = [{"x": row["x"], "y": row["y"], "of": row["of"]} for row in points]
    chart = panel(f"{name}, no bias", x="sigma_w", y="train accuracy", lines=joined, points=points)
    marks: list[Row] = [{"x": kept_gain(name)}, {"x": theory.gain(name).gain}]
    rules = [
        alt.Chart({"values": [mark]}).mark_rule(strokeDash=dash, strokeWidth=1.5).encode(x="x:Q")
        for mark, dash in zip(marks, ([1, 0], [4, 3]), strict=True)
    ]
    return alt.layer(*rules, *chart.layer).properties(
        width=280, height=210, title=f"{name}, no bias; solid: predicted, dashed: unit gain"
    )


def _edge_panel(name: str, pair: Results) -> Any:
    edge = steadiest_edge(name)
    words = {theory.gain(name).gain: "unit gain", kept_gain(name): "scale that is kept", edge.sigma_w: "edge with bias"}
    points = [
        point(depth, mean, error, words[sigma_w])
        for (sigma_w, depth), mean, error in pair.mean("test_accuracy", by=["sigma_w", "depth"])
    ]
    joined = [{"x": row["x"], "y": row["y"], "of": row["of"]} for row in points]
    return panel(f"{name}, trained", x="depth", y="test accuracy", lines=joined, points=points)
