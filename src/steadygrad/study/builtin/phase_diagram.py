"""`steadygrad study phase-diagram`: which tanh networks train, over weight scale and depth, against 6 xi_c."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench, Conclusion
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .conclude import conclude

SIGMA_B = 0.05**0.5
DEPTHS = (4, 6, 8, 11, 16, 22, 30, 42, 58, 80)
# Six correlation lengths are what Schoenholz et al. read off their pictures: no more than its size is claimed.
FACTOR = 2.0


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is trained.

    Attributes:
        scales: how many values of sigma_w^2, from 1 to 4.
        depths: hidden layers, rising.
        width: units of a hidden layer.
        steps: of training.
        seeds: networks a cell.
    """

    scales: int = 20
    depths: tuple[int, ...] = DEPTHS
    width: int = 64
    steps: int = 200
    seeds: int = 3


FULL = Grid()


def study(bench: Bench, grid: Grid = FULL) -> Conclusion:
    """Train the grid, find for each sigma_w the depth at which training is lost, and hold it against 6 xi_c.

    Args:
        bench: where.
        grid: what is trained.

    References: Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017, figure 5.
    """
    results = bench.run(_spec(grid))
    return conclude("phase-diagram", "Phase diagram of tanh networks", [_section(results, grid)], bench.out)


def _spec(grid: Grid) -> Spec:
    scales = np.sqrt(np.linspace(1.0, 4.0, grid.scales)).tolist()
    return Spec.of(
        name="tanh-grid",
        fixed={
            "width": grid.width, "activation": "tanh", "sigma_b": SIGMA_B, "steps": grid.steps, "learning_rate": 0.01,
            "curve": 0,
        },
        product={"depth": list(grid.depths), "sigma_w": scales},
        seeds=grid.seeds,
    )  # fmt: skip


def predicted(sigma_w: float) -> float:
    """Return 6 xi_c at the fixed point of the variance map.

    >>> round(predicted(1.0), 1)
    21.8
    """
    q = theory.fixed_points("tanh", sigma_w=sigma_w, sigma_b=SIGMA_B).points[-1].q
    return theory.trainable_depth("tanh", q=q, sigma_w=sigma_w)


def lost_at(depths: list[int], accuracies: list[float]) -> float:
    """Return the depth at which accuracy crosses half the way to chance, between two depths as logarithms go.

    inf where it is above half at every depth; NaN where it never is.

    >>> round(lost_at([4, 16, 64], [0.9, 0.9, 0.1]), 6), lost_at([4], [0.9]), lost_at([4], [0.1])
    (32.0, inf, nan)
    """
    half = (max(accuracies) + 0.1) / 2
    if max(accuracies) < 0.3:
        return math.nan
    above = [accuracy >= half for accuracy in accuracies]
    if above[-1]:
        return math.inf
    last = max(i for i, yes in enumerate(above) if yes)
    share = (accuracies[last] - half) / (accuracies[last] - accuracies[last + 1])
    return float(depths[last] * (depths[last + 1] / depths[last]) ** share)


def _section(results: Results, grid: Grid) -> Section:
    depths = list(grid.depths)
    means = results.mean("train_accuracy", by=["sigma_w", "depth"])
    scales = sorted({key[0] for key, _, _ in means})
    mean = {key: value for key, value, _ in means}
    lost = {w: lost_at(depths, [mean[w, depth] for depth in depths]) for w in scales}
    ratios = {w: at / predicted(w) for w, at in lost.items() if math.isfinite(at)}
    return Section(
        name="phase-diagram",
        title="Trained accuracy of tanh networks",
        claim="A network trains up to about 6 xi_c layers, on either side of the edge of chaos.",
        prediction="6 xi_c with xi_c = 1/|ln chi_1| at the fixed point of the variance map, infinite on the edge.",
        chart=_chart(means, scales, lost, depths),
        checks=_checks(mean, scales, ratios, grid),
        verdict=_verdict(ratios),
    )


def _sides(ratios: dict[float, float]) -> dict[str, list[float]]:
    edge = theory.edge_of_chaos("tanh", sigma_b=SIGMA_B).sigma_w
    return {
        "ordered": [ratio for w, ratio in ratios.items() if w < edge],
        "chaotic": [ratio for w, ratio in ratios.items() if w >= edge],
    }


def _checks(
    mean: dict[tuple[Any, ...], float], scales: list[float], ratios: dict[float, float], grid: Grid
) -> tuple[Check, ...]:
    """Ln of the depth that is lost over 6 xi_c, its median on each side; and the edge, where the deepest train."""
    checks = [
        Check(
            what=f"ln(depth at which half is lost / 6 xi_c), median of {len(side)} scales, {name}",
            predicted=0.0,
            measured=float(np.median(np.log(side))) if side else math.nan,
            error=float(np.std(np.log(side)) / math.sqrt(len(side))) if side else math.nan,
            allowed=math.log(FACTOR),
        )
        for name, side in _sides(ratios).items()
    ]
    nearest = max(scales, key=predicted)
    best = max(scales, key=lambda w: mean[w, grid.depths[-1]])
    step = (4.0 - 1.0) / (grid.scales - 1)
    checks.append(
        Check(
            what=f"sigma_w² that trains best at depth {grid.depths[-1]}",
            predicted=nearest**2,
            measured=best**2,
            error=step / math.sqrt(12),
            allowed=2.5 * step,
        )
    )
    return tuple(checks)


def _verdict(ratios: dict[float, float]) -> str:
    said = [
        f"{math.exp(np.median(np.log(s))):.2f} times 6 xi_c in the {n} phase" for n, s in _sides(ratios).items() if s
    ]
    where = " and ".join(said)
    if not where:
        return "no depth of this grid loses half of what is learned."
    return (
        f"half of what is learned is lost at {where}. Near the edge, where 6 xi_c is infinite, networks of this width "
        "and so few steps end sooner."
    )


def _chart(
    means: list[tuple[tuple[Any, ...], float, float]], scales: list[float], lost: dict[float, float], depths: list[int]
) -> Any:
    steps = np.sqrt(np.array(depths[1:]) * np.array(depths[:-1])).tolist()
    low, high = [depths[0] ** 2 / steps[0], *steps], [*steps, depths[-1] ** 2 / steps[-1]]
    half = (scales[1] ** 2 - scales[0] ** 2) / 2
    cells = [
        {"left": w**2 - half, "right": w**2 + half, "low": low[i], "high": high[i], "accuracy": value}
        for (w, depth), value, _ in means
        for i in [depths.index(depth)]
    ]
    x = alt.Scale(domain=[scales[0] ** 2 - half, scales[-1] ** 2 + half], nice=False)
    y = alt.Scale(type="log", domain=[low[0], high[-1]], nice=False)
    up = alt.Y("low:Q", title="depth", scale=y, axis=alt.Axis(values=depths))
    field = alt.Chart({"values": cells}).mark_rect(clip=True)
    field = field.encode(
        x=alt.X("left:Q", title="sigma_w²", scale=x), x2="right:Q", y=up, y2="high:Q",
        color=alt.Color("accuracy:Q", title="train accuracy", scale=alt.Scale(scheme="viridis", domain=[0.1, 1.0])),
    )  # fmt: skip
    fine = np.linspace(scales[0] ** 2 - half, scales[-1] ** 2 + half, 150).tolist()
    line = [{"left": w2, "low": min(predicted(math.sqrt(w2)), 1e4)} for w2 in fine]
    found = [{"left": w**2, "low": at} for w, at in lost.items() if math.isfinite(at)]
    shared = {"x": "left:Q", "y": "low:Q"}
    over = alt.Chart({"values": line}).mark_line(clip=True, color="white", strokeWidth=2.5).encode(**shared)
    dots = alt.Chart({"values": found}).mark_point(filled=True, color="#ff4d4d", size=45, opacity=1).encode(**shared)
    title = "Accuracy after training; white: 6 xi_c; red: half is lost"
    return alt.layer(field, over, dots).properties(width=460, height=300, title=title)
