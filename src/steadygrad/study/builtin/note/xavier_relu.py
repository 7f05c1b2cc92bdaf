"""Xavier is too small for ReLU: a factor 1/2 a layer, and what that does to training."""

from __future__ import annotations

import math

from steadygrad import theory
from steadygrad.report.study_page import Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error, within_errors
from steadygrad.study.spec import Spec

from .depth import inputs, spread
from .effort import FULL, Effort

INITIALIZERS = ("xavier-normal", "he-normal")


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Train ReLU networks of several depths from Xavier and from He."""
    depths = sorted({max(2, effort.depth * part // 16) for part in (2, 4, 8, 16, 24)})
    results = bench.run(_spec(effort, depths))
    q, _ = inputs()
    lines, points, trained, checks = [], [], [], []
    for init in INITIALIZERS:
        for depth in depths:
            cell = results.where(initializer=init, depth=depth)
            profile = theory.mlp(depth=depth, width=effort.width, activation="relu", init=init, q=q, inputs=64)
            row = [row for row in profile if row.kind == "Linear"][-1]
            logs = [math.log(at[depth - 1]) for at in cell.column("start_q")]
            sd = spread(row.q_low, row.q_high)
            checks.append(within_errors(f"ln q of layer {depth}, {init}", math.log(row.q), logs, sd=sd))
            mean, error = mean_and_error(logs)
            lines.append({"x": depth, "y": row.q, "of": init})
            points.append(point(depth, math.exp(mean), math.exp(mean) * error, init))
            trained.append(point(depth, *mean_and_error(cell.column("test_accuracy")), init))
    he, xavier = (results.where(initializer=i, depth=depths[-1]).column("test_accuracy") for i in INITIALIZERS[::-1])
    checks.append(clearly_above(f"accuracy of He less that of Xavier, depth {depths[-1]}", 0.0, he - xavier))
    return Section(
        name="xavier-relu",
        title="Xavier before ReLU",
        claim="Xavier is too small for ReLU: the signal is attenuated in later layers. He prevents that.",
        prediction="Xavier halves q a layer between square layers, He keeps its mean; the median of a draw falls with "
        "both by about 5/(2 width) a layer.",
        chart=beside(
            panel("Last hidden layer as drawn", x="depth", y="q", lines=lines, points=points, y_log=True),
            panel("After training", x="depth", y="test accuracy", points=trained),
        ),
        checks=tuple(checks),
        verdict=(
            "it holds: a factor 1/2 a layer. Shallow networks learn from either; with depth Xavier's stop first. He "
            "keeps the mean over draws, not each draw."
        ),
    )


def _spec(effort: Effort, depths: list[int]) -> Spec:
    return Spec.of(
        name="xavier-relu",
        fixed={"width": effort.width, "activation": "relu", "steps": effort.steps, "learning_rate": 0.02, "curve": 0},
        product={"initializer": list(INITIALIZERS), "depth": depths},
        seeds=effort.seeds,
    )
