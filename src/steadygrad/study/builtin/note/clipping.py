"""Clipping by value and by norm: what each does to the direction, and what both do at a cliff."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from steadygrad import theory
from steadygrad.guard import clip
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import Row, beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error, within_errors

from .effort import FULL, Effort

ENTRIES = 20_000
THRESHOLDS = (0.03, 0.1, 0.3, 1.0, 2.0)
WAYS = ("none", "by value", "by norm")
START, RATE, LIMIT = (1.5, 1.0), 0.01, 1.0


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Measure the angle of Gaussian gradients by clipping, and walk down a cliff three ways."""
    del bench
    checks, points = [], []
    for threshold in THRESHOLDS:
        cosine = _predicted(threshold)
        by_value = [_cosine(clip.ByValue(threshold), seed) for seed in range(effort.seeds)]
        by_norm = [_cosine(clip.ByNorm(threshold), seed) for seed in range(effort.seeds)]
        checks.append(within_errors(f"cos of the turn, by value at {threshold:g} sd", cosine, by_value))
        # Rescaling rounds each entry by u; a cosine is off by the square of it, sums by less than ENTRIES u.
        allowed = ENTRIES * theory.FORMATS["float64"].roundoff
        mean, error = mean_and_error(by_norm)
        checks.append(
            Check(
                what=f"cos of the turn, by norm {threshold:g}",
                predicted=1.0,
                measured=mean,
                error=error,
                allowed=allowed,
            )
        )
        points += [point(threshold, *mean_and_error(v), of) for v, of in ((by_value, "by value"), (by_norm, "by norm"))]
    curve = np.geomspace(THRESHOLDS[0], THRESHOLDS[-1], 40).tolist()
    lines = [{"x": threshold, "y": _predicted(threshold), "of": "by value"} for threshold in curve]
    cliff, found = _cliff(effort)
    title = "Cosine of gradient and step"
    left = panel(title, x="threshold / sd of an entry", y="cosine", lines=lines, points=points, x_log=True)
    return Section(
        name="clipping",
        title="Gradient clipping",
        claim="Clipping by norm is preferred: it keeps the direction and tames a cliff.",
        prediction="By norm the cosine is 1; by value at v it is E[g clip(g)] / (E[g²] E[clip(g)²])^½, √(2/π) = .798 "
        "for Gaussian entries and small v.",
        chart=beside(left, cliff),
        checks=(*checks, *found),
        verdict=(
            "it holds: only the norm keeps the direction. For dense Gaussian gradients the turn by value is at most "
            "37°; on the cliff both reach the valley and the plain step leaves it for good."
        ),
    )


def _predicted(v: float) -> float:
    """The cosine between a standard normal gradient and itself clamped to ±v."""
    kinks = (-v, v)
    along = theory.gaussian_mean(lambda g: g * np.clip(g, -v, v), kinks=kinks)
    return along / math.sqrt(theory.gaussian_mean(lambda g: np.clip(g, -v, v) ** 2, kinks=kinks))


def _cosine(policy: clip.Policy, seed: int) -> float:
    """Of a real parameter's gradient before and after a policy."""
    weight = nn.Parameter(torch.zeros(ENTRIES, dtype=torch.float64))
    weight.grad = torch.randn(ENTRIES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = weight.grad.clone()
    policy(weight)
    return float(before @ weight.grad / (before.norm() * weight.grad.norm()))


def _cliff(effort: Effort) -> tuple[Any, list[Check]]:
    """The loss of y = u⁸ v x, which is to copy x: behind its valley it rises like u¹⁶."""
    rows: list[Row] = []
    last: dict[str, list[float]] = {way: [] for way in WAYS}
    steps = max(effort.steps, 60)
    for way in WAYS:
        runs = np.array([_descent(way, seed, steps) for seed in range(effort.seeds)])
        last[way] = [float(loss) if math.isfinite(loss) else math.inf for loss in runs[:, -1]]
        for step in range(0, steps, max(steps // 50, 1)):
            seen = np.log10(np.clip(np.nan_to_num(runs[:, step], nan=1e6, posinf=1e6), 1e-6, 1e6))
            rows.append({"x": step, "y": float(10 ** seen.mean()), "of": way})
    bound = _loss(*START)
    checks = [
        clearly_above(
            f"runs on the cliff that end below their first loss, {way}", 1.0, [float(x < bound) for x in last[way]]
        )
        for way in WAYS[1:]
    ]
    fell = [float(not x < 1e-2) for x in last["none"]]
    checks.append(clearly_above("runs on the cliff that do not arrive, unclipped", 1.0, fell))
    return panel("Down a cliff: mean of log loss", x="step", y="loss (≤ 10⁶)", lines=rows, y_log=True), checks


def _loss(u: float, v: float) -> float:
    return (u**8 * v - 1) ** 2


def _descent(way: str, seed: int, steps: int) -> list[float]:
    """The loss at each step of plain gradient descent on noisy batches."""
    u, v = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in START)
    policy = {"none": None, "by value": clip.ByValue(LIMIT), "by norm": clip.ByNorm(LIMIT)}[way]
    optimizer, generator = torch.optim.SGD([u, v], lr=RATE), torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x_B = torch.randn(32, generator=generator, dtype=torch.float64)
        loss = (u**8 * v * x_B - x_B).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        if policy is not None and math.isfinite(losses[-1]):
            policy([u, v])
        optimizer.step()
    return losses
