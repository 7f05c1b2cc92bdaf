"""Xavier, He and others through depth: forward, backward and trained, for sigmoid, tanh and ReLU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import altair as alt
import numpy as np

from steadygrad import theory
from steadygrad.profile import LayerSignal
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import Row, below, beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error, within_errors
from steadygrad.study.data import load
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .effort import FULL, Effort

ACTIVATIONS = ("sigmoid", "tanh", "relu")
INITIALIZERS = ("xavier-normal", "he-normal", "torch-default")
Rows = list[LayerSignal]


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Draw and train a network for each activation, initializer and seed; compare each layer with `theory.mlp`."""
    results = bench.run(_spec(effort))
    cells = {(a, i): results.where(activation=a, initializer=i) for a, i in product(ACTIVATIONS, INITIALIZERS)}
    theories = {key: _theory(*key, effort) for key in cells}
    checks = [check for key in cells for check in _checks(key, cells[key], theories[key])]
    checks += _trained(cells)
    return Section(
        name="depth",
        title="Initializers through depth",
        claim="Xavier is for sigmoid and tanh, He is for ReLU; without the right scale gradients vanish or explode.",
        prediction="Each layer's second moment and gradient as theory.mlp gives them, with the spread of finite width.",
        chart=below(*(_row(a, cells, theories) for a in ACTIVATIONS), _accuracies(cells)),
        checks=tuple(checks),
        verdict=(
            "it holds for tanh (Xavier) and ReLU (He). For sigmoid it does not: σ' is at most 1/4, so Xavier takes "
            "about a factor 16 from the squared gradient a layer, and such a network learns nothing at this depth."
        ),
    )


def _spec(effort: Effort) -> Spec:
    return Spec.of(
        name="depth",
        fixed={
            "depth": effort.depth, "width": effort.width, "steps": effort.steps, "learning_rate": 0.02, "momentum": 0.9,
            "dtype": "float64", "curve": 0,
        },
        product={"activation": list(ACTIVATIONS), "initializer": list(INITIALIZERS)},
        seeds=effort.seeds,
    )  # fmt: skip


def inputs() -> tuple[float, float]:
    """Return q and c of the digits that signals are measured on."""
    x = load("digits").inputs[:128]
    q = float(x.square().mean())
    return q, 1 - float(x.var(0).mean()) / q


def _theory(activation: str, init: str, effort: Effort) -> Rows:
    q, c = inputs()
    profile = theory.mlp(
        depth=effort.depth, width=effort.width, activation=activation, init=init, q=q, c=c, inputs=64, outputs=10
    )
    return [row for row in profile if row.kind == "Linear"]


def spread(low: float, high: float) -> float:
    """Return the standard deviation of the logarithm whose 95% band is (low, high)."""
    return math.log(high / low) / (2 * 1.959964) if low > 0 else math.nan


def _checks(key: tuple[str, str], cell: Results, rows: Rows) -> Iterator[Check]:
    """The last hidden layer's q, and the gradient's way from the last layer to the first, as logarithms."""
    name, last = " ".join(key), rows[-2]
    forward = [math.log(q[-2]) for q in cell.column("start_q")]
    sd = spread(last.q_low, last.q_high)
    yield within_errors(f"ln q of layer {len(rows) - 1}, {name}", math.log(last.q), forward, sd=sd)
    backward = [math.log(g[0] / g[-1]) for g in cell.column("start_grad_q")]
    sd = math.hypot(spread(rows[0].grad_q_low, rows[0].grad_q_high), math.sqrt(2 / 10))
    yield within_errors(f"ln of the gradient's way back, {name}", math.log(rows[0].grad_q), backward, sd=sd)


def _trained(cells: dict[tuple[str, str], Results]) -> Iterator[Check]:
    accuracy = {key: cell.column("test_accuracy") for key, cell in cells.items()}
    for activation, better, worse in (
        ("tanh", "xavier-normal", "torch-default"),
        ("relu", "he-normal", "torch-default"),
    ):
        gap = accuracy[activation, better] - accuracy[activation, worse]
        yield clearly_above(f"accuracy {better} less {worse}, {activation}", 0.0, gap)


def _row(activation: str, cells: dict[tuple[str, str], Results], theories: dict[tuple[str, str], Rows]) -> Any:
    return beside(
        _panel(activation, "q", "start_q", cells, theories, "second moment q"),
        _panel(activation, "grad_q", "start_grad_q", cells, theories, "squared gradient / that of the output"),
    )


def _panel(
    activation: str,
    column: str,
    measured: str,
    cells: dict[tuple[str, str], Results],
    theories: dict[tuple[str, str], Rows],
    words: str,
) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for init in INITIALIZERS:
        rows, values = theories[activation, init], np.array(cells[activation, init].column(measured).tolist())
        values = values / values[:, -1:] if column == "grad_q" else values
        lines += [{"x": i + 1, "y": getattr(row, column), "of": init} for i, row in enumerate(rows)]
        for i, at in enumerate(np.log(values).T):
            mean, error = mean_and_error(at)
            points.append(point(i + 1, math.exp(mean), math.exp(mean) * error, init))
    return panel(f"{activation}: {words}", x="layer", y=column, lines=lines, points=points, y_log=True)


def _accuracies(cells: dict[tuple[str, str], Results]) -> Any:
    rows = [
        {"activation": a, **point(i, *mean_and_error(cell.column("test_accuracy")), i)}
        for (a, i), cell in cells.items()
    ]
    across = {"x": alt.X("activation:N", title=None, sort=None), "xOffset": alt.XOffset("of:N", sort=None)}
    color = alt.Color("of:N", title=None, sort=None)
    base = alt.Chart({"values": rows})
    bars = base.mark_bar(opacity=0.6).encode(**across, color=color, y=alt.Y("y:Q", title="test accuracy"))
    rules = base.mark_rule().encode(**across, y=alt.Y("low:Q", title="test accuracy"), y2="high:Q")
    return alt.layer(bars, rules).properties(width=280, height=180, title="Digits, trained")
