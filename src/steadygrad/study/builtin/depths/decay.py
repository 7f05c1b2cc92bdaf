"""Decay in networks as they are drawn: of what differs between examples, of the gradient, and of the variance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.gains.critical import variances
from steadygrad.study.builtin.gains.one_input import one_input
from steadygrad.study.builtin.marks import Row, beside, panel, point
from steadygrad.study.builtin.seeds import mean_and_error, within_errors
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .effort import Effort
from .scales import SIGMA_B, Scale, scale_at

Array = NDArray[np.float64]
ACTIVATION = "tanh"
# From half and from twice q*, whose ratio falls by e over xi_q layers.
FACTORS = (0.5, 2.0)
COMPARED = (2, 3, 4)


def section(bench: Bench, effort: Effort) -> Section:
    """Draw networks at five scales, and compare the rates of decay with chi_1, xi_c and xi_q."""
    scales = [scale_at(ACTIVATION, "ordered", xi) for xi in (4.0, 10.0)]
    scales += [scale_at(ACTIVATION, "critical"), *(scale_at(ACTIVATION, "chaotic", xi) for xi in (10.0, 4.0))]
    results = bench.run(_spec(scales, effort))
    cells = {scale: results.where(sigma_w=scale.sigma_w) for scale in scales}
    parted = {scale: _parted(scale, effort) for scale in scales}
    checks = [check for scale in scales for check in _rates(scale, cells[scale], effort)]
    checks += [check for scale in scales for check in _variance(scale, parted[scale])]
    return Section(
        name="decay",
        title="Decay as drawn",
        claim="What differs between examples decays with xi_c, the variance with xi_q, the gradient with chi_1.",
        prediction="Once q is at q*: 1 - c falls by chi_1 = exp(-1/xi_c) a layer in the ordered phase, the squared "
        "gradient changes by chi_1 in both, and ln q from two starts closes in by exp(-1/xi_q).",
        chart=beside(_correlations(cells), _gradients(cells), _variances(parted)),
        checks=tuple(checks),
        verdict="it holds, at every scale, within the seeds' errors. The variance is at its fixed point after a few "
        "layers; what is left to limit depth is chi_1.",
    )


def _spec(scales: list[Scale], effort: Effort) -> Spec:
    return Spec.of(
        name="drawn",
        fixed={
            "activation": ACTIVATION, "width": effort.drawn_width, "depth": effort.drawn_depth, "sigma_b": SIGMA_B,
            "steps": 0, "curve": 0, "dtype": "float64",
        },
        product={"sigma_w": [scale.sigma_w for scale in scales]},
        seeds=effort.draws,
    )  # fmt: skip


def _gaps(cell: Results) -> Array:
    """Ln(1 - c) of each hidden layer, [seeds, depth]: what differs between examples over the second moment."""
    signal, q = (np.array(cell.column(f"start_{name}").tolist())[:, :-1] for name in ("signal", "q"))
    return np.asarray(np.log(signal / q))


def _grads(cell: Results) -> Array:
    grads = np.log(np.array(cell.column("start_grad_q").tolist())[:, :-1])
    return np.asarray(grads - grads[:, -1:])


def per_layer(logs: Array) -> Array:
    """Return each seed's slope over the second half of the layers, by least squares."""
    half = logs[:, logs.shape[1] // 2 :]
    x = np.arange(half.shape[1]) - (half.shape[1] - 1) / 2
    return np.asarray((half @ x) / (x @ x))


def drift(scale: Scale, width: int) -> float:
    """Return how far ln|δ|² of one direction falls short of ln chi_1 a layer: half the variance of its factor.

    A layer multiplies |δ|² by chi²_N / N and by the mean of φ'² over N units, weighted by normal squares:
    (2 + 3 mu_2/mu_1² - 1) / 2N to first order.

    >>> from .scales import scale_at
    >>> 0 < drift(scale_at("tanh", "critical"), 1000) < 0.005
    True
    """
    slopes = 3 * (1 + theory.moments(scale.activation, scale.q).derivative_kappa) - 1
    return (2 + slopes) / (2 * width)


def _rates(scale: Scale, cell: Results, effort: Effort) -> list[Check]:
    found = {"ln of the squared gradient": -per_layer(_grads(cell))}
    if scale.side == "ordered":
        found["ln(1 - c)"] = per_layer(_gaps(cell))
    made = [
        within_errors(f"{name} a layer, sigma_w = {scale.sigma_w:.3f}", math.log(scale.chi_1), values)
        for name, values in found.items()
    ]
    # Many directions fall short by less than one does: the limit takes in what one would.
    return [Check(**{**vars(check), "allowed": check.allowed + drift(scale, effort.drawn_width)}) for check in made]


def _parted(scale: Scale, effort: Effort) -> Array:
    """Ln q from twice q* less that from half of it, [seeds, 8 layers]."""
    logs = [
        one_input(
            q=(factor * scale.q - SIGMA_B**2) / scale.sigma_w**2,
            seeds=effort.draws,
            depth=8,
            width=effort.drawn_width,
            activation=scale.activation,
            sigma_w=scale.sigma_w,
            sigma_b=SIGMA_B,
        ).log_q
        for factor in FACTORS
    ]
    return logs[1] - logs[0]


def infinite(scale: Scale) -> list[float]:
    """Return the same for infinite width, by the variance map."""
    low, high = (
        variances(scale.activation, factor * scale.q, 8, sigma_w=scale.sigma_w, sigma_b=SIGMA_B) for factor in FACTORS
    )
    return [math.log(b / a) for a, b in zip(low, high, strict=True)]


def _variance(scale: Scale, parted: Array) -> list[Check]:
    return [
        within_errors(
            f"ln q from 2 q* less that from q*/2, layer {layer}, sigma_w = {scale.sigma_w:.3f}",
            infinite(scale)[layer - 1],
            parted[:, layer - 1],
        )
        for layer in COMPARED
    ]


def _name(scale: Scale) -> str:
    return f"sigma_w {scale.sigma_w:.2f}"


def _log_points(logs: Array, of: str) -> list[Row]:
    rows = []
    for i, column in enumerate(logs.T):
        mean, error = mean_and_error(column)
        rows.append({**point(i + 1, math.exp(mean), 0.0, of), "low": math.exp(mean - error),
                     "high": math.exp(mean + error)})  # fmt: skip
    return rows


def _correlations(cells: dict[Scale, Results]) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for scale, cell in cells.items():
        logs = _gaps(cell)
        points += _log_points(logs, _name(scale))
        middle = logs.shape[1] // 2
        if scale.side == "ordered":
            at = float(logs[:, middle].mean())
            lines += [{"x": i + 1, "y": math.exp(at + (i - middle) * math.log(scale.chi_1)), "of": _name(scale)}
                      for i in range(middle, logs.shape[1])]  # fmt: skip
    return panel("What differs; lines: chi_1 a layer", x="layer", y="1 - c", lines=lines, points=points, y_log=True,
                 width=240)  # fmt: skip


def _gradients(cells: dict[Scale, Results]) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for scale, cell in cells.items():
        logs = _grads(cell)
        last = logs.shape[1] - 1
        points += _log_points(logs, _name(scale))
        lines += [{"x": i + 1, "y": scale.chi_1 ** (last - i), "of": _name(scale)} for i in range(last + 1)]
    return panel("Squared gradient; lines: chi_1 a layer", x="layer", y="over that of the last layer", lines=lines,
                 points=points, y_log=True, width=240)  # fmt: skip


def _variances(parted: dict[Scale, Array]) -> Any:
    lines: list[Row] = []
    points: list[Row] = []
    for scale, logs in parted.items():
        lines += [{"x": i + 1, "y": value, "of": _name(scale)} for i, value in enumerate(infinite(scale)[:6])]
        points += [point(i + 1, *mean_and_error(column), _name(scale)) for i, column in enumerate(logs.T[:6])]
    return panel(
        "Variance, from q*/2 and 2 q*", x="layer", y="difference of ln q", lines=lines, points=points, width=240
    )
