"""How many xi deep networks train: at several scales on both sides of the edge, after a quarter, half and all steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import Row, beside, panel, point
from steadygrad.study.builtin.seeds import mean_and_error
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec
from steadygrad.theory.depth_scale import TRAINABLE

from .effort import Effort
from .scales import ACTIVATIONS, SIDES, SIGMA_B, Scale, Side, scale_at

NOTHING = math.log(10)  # the loss of a network that knows nothing of ten classes
BUDGETS = (4, 2, 1)
# Losses of single batches are averaged over the last steps before each budget.
_CURVE_A_BUDGET = 12
# Six correlation lengths are what was read off a picture: no more than its size is claimed.
FACTOR = 2.0
# What is trained goes as far beyond that again: a chaotic network amplifies rounding, so that now and then one of them
# learns deeper than others of its scale, and a depth at which none is left must still be seen.
DEEPEST = FACTOR**2 * TRAINABLE
Lost = dict[tuple[Scale, int], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """ln(lost depth) = ln k + a ln xi over the scales of one side.

    Attributes:
        k: how many xi, with exponent 1.
        k_error: standard error of ln k, over the scales.
        exponent: a, by least squares.
        exponent_error: its standard error.
    """

    k: float
    k_error: float
    exponent: float
    exponent_error: float


def section(bench: Bench, effort: Effort) -> Section:
    """Train, find for each scale the depth at which half of what is learned is lost, and fit it against xi."""
    scales = [scale_at(a, side, xi) for a in ACTIVATIONS for side in SIDES for xi in effort.reaches]
    edges = [scale_at(a, "critical") for a in ACTIVATIONS]
    results = bench.run(_spec([*scales, *edges], effort))
    shares = {s: _shares(results.where(activation=s.activation, sigma_w=s.sigma_w), effort) for s in [*scales, *edges]}
    lost = {
        (s, budget): lost_at(depths_of(s, effort), shares[s][i]) for s in shares for i, budget in enumerate(BUDGETS)
    }
    fits = {(side, b): fit([s for s in scales if s.side == side], lost, b) for side in SIDES for b in BUDGETS}
    return Section(
        name="trainable-depth",
        title="How many depth scales train",
        claim="The depth to which networks train is proportional to xi = 1/|ln chi_1|, on both sides of the edge.",
        prediction="Lost depth = 6 xi (Schoenholz et al., 2017), to a factor of 2, at every scale and for both "
        "activations. On the edge xi is infinite, and the lost depth the largest.",
        chart=beside(_collapse(shares, effort), _against_xi(lost, fits), _budgets(fits, effort)),
        checks=tuple(_checks(scales, edges, lost)),
        verdict=_verdict(fits, effort),
    )


def depths_of(scale: Scale, effort: Effort) -> list[int]:
    """Return the depths at which a scale is trained; the deeper half of them on the edge."""
    if math.isinf(scale.xi):
        return list(effort.depths[len(effort.depths) // 2 :])
    return [depth for depth in effort.depths if 1.5 * scale.xi <= depth <= DEEPEST * scale.xi]


def _spec(scales: list[Scale], effort: Effort) -> Spec:
    rows = [(scale.activation, scale.sigma_w, depth) for scale in scales for depth in depths_of(scale, effort)]
    names = ("activation", "sigma_w", "depth")
    return Spec.of(
        name="trained",
        fixed={
            "sigma_b": SIGMA_B, "width": effort.width, "steps": effort.steps, "learning_rate": 0.01,
            "curve": _CURVE_A_BUDGET * BUDGETS[0],
        },
        zip=[dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))],
        seeds=effort.seeds,
    )  # fmt: skip


def _shares(results: Results, effort: Effort) -> list[NDArray[np.float64]]:
    """The share of the loss that is gone, [depths, seeds], at each budget: 0 where nothing is, or it is not finite."""
    out = []
    for budget in BUDGETS:
        end = effort.steps // budget
        rows = []
        for _, cell in results.by("depth"):
            steps, losses = np.array(cell.column("curve_step")[0]), np.array(cell.column("curve_loss").tolist())
            seen = (steps < end) & (steps >= end * 3 // 4)
            rows.append(np.clip(1 - np.nan_to_num(losses[:, seen].mean(1), nan=NOTHING) / NOTHING, 0.0, 1.0))
        out.append(np.array(rows))
    return out


def lost_at(depths: list[int], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the depth at which each seed's share crosses half of its largest, between two depths as logarithms go.

    inf where it does not, NaN where the share is nowhere above a tenth.

    >>> lost_at([4, 16, 64], np.array([[0.8], [0.8], [0.0]])).round(6)
    array([32.])
    """
    return np.array([_crossing(depths, column) for column in shares.T])


def _crossing(depths: list[int], share: NDArray[np.float64]) -> float:
    if share.max() < 0.1:
        return math.nan
    above = np.flatnonzero(share >= share.max() / 2)[-1]
    if above == len(depths) - 1:
        return math.inf
    part = (share[above] - share.max() / 2) / (share[above] - share[above + 1])
    return float(depths[above] * (depths[above + 1] / depths[above]) ** part)


def fit(scales: list[Scale], lost: Lost, budget: int) -> Fit:
    """Return the fit over the scales whose lost depth lies within the grid, each the mean of ln over its seeds."""
    pairs = [(math.log(s.xi), float(np.log(lost[s, budget]).mean())) for s in scales]
    pairs = [pair for pair in pairs if math.isfinite(pair[1])]
    if len(pairs) < 3:
        return Fit(k=math.nan, k_error=math.nan, exponent=math.nan, exponent_error=math.nan)
    x, y = np.array(pairs).T
    mean, error = mean_and_error(y - x)
    off = x - x.mean()
    slope = float(off @ y / (off @ off))
    rest = y - y.mean() - slope * off
    slope_error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(off @ off))
    return Fit(k=math.exp(mean), k_error=error, exponent=slope, exponent_error=slope_error)


def _within_factor(scale: Scale, lost: NDArray[np.float64]) -> Check:
    mean, error = mean_and_error(np.log(lost))
    return Check(
        what=f"ln(lost depth / 6 xi), {scale.activation}, {scale.side}, xi = {scale.xi:.3g}",
        predicted=0.0,
        measured=mean - math.log(TRAINABLE * scale.xi),
        error=error,
        allowed=math.log(FACTOR),
    )


def _checks(scales: list[Scale], edges: list[Scale], lost: Lost) -> list[Check]:
    checks = [_within_factor(scale, lost[scale, BUDGETS[-1]]) for scale in scales]
    for edge in edges:
        others = [float(np.mean(lost[s, BUDGETS[-1]])) for s in scales if s.activation == edge.activation]
        mean, error = mean_and_error(lost[edge, BUDGETS[-1]])
        what = f"lost depth on the edge, {edge.activation}, and the largest beside it"
        checks.append(Check(what=what, predicted=max(others), measured=mean, error=error, allowed=0.0, least=True))
    return checks


def _verdict(fits: dict[tuple[Side, int], Fit], effort: Effort) -> str:
    last = BUDGETS[-1]
    words = " and ".join(_words(side, fits[side, last]) for side in SIDES)
    first = BUDGETS[0]
    early = ", ".join(f"{side} {fits[side, first].k:.1f} xi" for side in SIDES if math.isfinite(fits[side, first].k))
    before = f" After {effort.steps // first} steps: {early or 'nothing'}."
    return (
        f"within a factor of 2, and no closer: after {effort.steps} steps half of what is learned is lost at {words}."
        f"{before} On the edge networks of this width end where their own fluctuations and the steps that they get end "
        "them."
    )


def _words(side: Side, found: Fit) -> str:
    return (
        f"{found.k:.1f} (± {found.k * found.k_error:.1f}) xi in the {side} phase, with an exponent of "
        f"{found.exponent:.2f} ± {found.exponent_error:.2f} over these xi"
    )


def _collapse(shares: dict[Scale, list[NDArray[np.float64]]], effort: Effort) -> Any:
    points: list[Row] = []
    for scale, found in shares.items():
        if scale.side != "critical":
            for depth, row in zip(
                depths_of(scale, effort), found[-1] / max(found[-1].mean(1).max(), 1e-9), strict=True
            ):
                points.append(point(depth / scale.xi, *mean_and_error(row), f"{scale.activation}, {scale.side}"))
    return panel(
        "All scales over depth / xi", x="depth / xi", y="share of the best", points=points, x_log=True, width=240
    )


def _against_xi(lost: Lost, fits: dict[tuple[Side, int], Fit]) -> Any:
    points: list[Row] = []
    for (scale, budget), found in lost.items():
        if budget == BUDGETS[-1] and math.isfinite(scale.xi):
            mean, error = mean_and_error(np.log(found))
            if math.isfinite(mean):
                at = math.exp(mean)
                points.append(point(scale.xi, at, at * error, f"{scale.activation}, {scale.side}"))
    ends = [min(row["x"] for row in points), max(row["x"] for row in points)] if points else []
    lines = [{"x": xi, "y": TRAINABLE * xi, "of": "6 xi"} for xi in ends]
    lines += [{"x": xi, "y": fits[side, BUDGETS[-1]].k * xi, "of": f"fit, {side}"} for side in SIDES for xi in ends
              if math.isfinite(fits[side, BUDGETS[-1]].k)]  # fmt: skip
    return panel("Depth at which half is lost", x="xi", y="depth", lines=lines, points=points, x_log=True, y_log=True,
                 width=240)  # fmt: skip


def _budgets(fits: dict[tuple[Side, int], Fit], effort: Effort) -> Any:
    points = [
        point(effort.steps // budget, found.k, found.k * found.k_error, side)
        for (side, budget), found in fits.items()
        if math.isfinite(found.k)
    ]
    joined = [{"x": row["x"], "y": row["y"], "of": row["of"]} for row in points]
    return panel("k by steps", x="steps", y="lost depth / xi", lines=joined, points=points, width=200)
