"""How many steps a network needs to learn digits, by depth, at the learning rate that suits it best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import Row, beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec
from steadygrad.theory.jacobian import Weights

from .effort import WEIGHTS, Effort, Setting, settings
from .jacobians import scales

# The loss of a network that knows nothing of ten classes, halved.
HALF = math.log(10) / 2
Speeds = dict[tuple[str, Weights, int], NDArray[np.float64]]


def section(bench: Bench, effort: Effort) -> Section:
    """Train over depths and learning rates, and count the steps until half of the loss is gone."""
    results = bench.run(_spec(effort))
    speeds: Speeds = {}
    for setting in settings():
        for weights in WEIGHTS:
            initializer = scales(setting, weights)["initializer"]
            cell = results.where(activation=setting.activation, initializer=initializer)
            for depth in effort.trained_depths:
                speeds[setting.activation, weights, depth] = best_speeds(cell.where(depth=depth))
    return Section(
        name="learning-speed",
        title="Learning speed by depth",
        claim="Networks with dynamical isometry learn as fast when they are deep; others slow down.",
        prediction="Orthogonal weights: no slower with depth for linear and tanh networks, which are isometric; slower "
        "for ReLU. Gaussian weights: slower than orthogonal ones where depth is large.",
        chart=beside(*(_panel(setting, speeds, effort) for setting in settings())),
        checks=tuple(_checks(speeds, effort)),
        verdict=_verdict(speeds, effort),
    )


def _spec(effort: Effort) -> Spec:
    rows = [scales(setting, weights) for setting in settings() for weights in WEIGHTS]
    return Spec.of(
        name="trained",
        fixed={"width": effort.trained_width, "steps": effort.steps, "curve": effort.steps // 2},
        product={"depth": list(effort.trained_depths), "learning_rate": list(effort.rates)},
        zip=[{key: [row[key] for row in rows] for key in rows[0]}],
        seeds=effort.seeds,
    )


def best_speeds(results: Results) -> NDArray[np.float64]:
    """Return 1 / steps until the batch's loss is below half of what it is by chance, of each seed, at its best rate.

    0 where no rate gets there, or the loss does not stay there to the end.
    """
    best = [[_speed(row) for row in group.rows()] for _, group in results.by("seed")]
    return np.array([max(rates) for rates in best])


def _speed(row: dict[str, Any]) -> float:
    losses = np.array(row["curve_loss"], dtype=float)
    if not len(losses) or not losses[-1] < HALF:
        return 0.0
    return 1.0 / max(int(row["curve_step"][int(np.argmax(losses < HALF))]), 1)


def _checks(speeds: Speeds, effort: Effort) -> list[Check]:
    shallow, deep = effort.trained_depths[0], effort.trained_depths[-1]
    checks = []
    for name in ("identity", "tanh"):
        gap = speeds[name, "orthogonal", deep] - speeds[name, "gaussian", deep]
        checks.append(clearly_above(f"1 / steps, orthogonal less gaussian, {name}, depth {deep}", 0.0, gap))
        with np.errstate(invalid="ignore", divide="ignore"):  # of what does not learn even where it is shallow
            mean, error = mean_and_error(speeds[name, "orthogonal", deep] / speeds[name, "orthogonal", shallow])
        # No slower: by more than the noise of the seeds.
        checks.append(
            Check(
                what=f"speed at depth {deep} over that at depth {shallow}, orthogonal, {name}",
                predicted=1.0,
                measured=mean,
                error=error,
                allowed=5 * error,
                least=True,
            )
        )
    gap = speeds["relu", "orthogonal", shallow] - speeds["relu", "orthogonal", deep]
    checks.append(clearly_above(f"1 / steps, depth {shallow} less depth {deep}, orthogonal, relu", 0.0, gap))
    return checks


def _verdict(speeds: Speeds, effort: Effort) -> str:
    deep = effort.trained_depths[-1]

    def said(name: str, weights: Weights) -> str:
        speed = float(speeds[name, weights, deep].mean())
        return f"{1 / speed:.0f} steps" if speed > 0 else f"not within {effort.steps} steps"

    words = "; ".join(f"{s.activation}: {said(s.activation, 'orthogonal')} with orthogonal weights, "
                      f"{said(s.activation, 'gaussian')} with Gaussian" for s in settings())  # fmt: skip
    return f"it holds. At depth {deep}, each at its best learning rate, {words}."


def _panel(setting: Setting, speeds: Speeds, effort: Effort) -> Any:
    points: list[Row] = []
    for weights in WEIGHTS:
        for depth in effort.trained_depths:
            mean, error = mean_and_error(speeds[setting.activation, weights, depth])
            points.append(point(depth, mean, error, weights))
    joined = [{"x": row["x"], "y": row["y"], "of": row["of"]} for row in points]
    return panel(setting.activation, x="depth", y="1 / steps to half the loss", lines=joined, points=points, x_log=True,
                 width=230)  # fmt: skip
