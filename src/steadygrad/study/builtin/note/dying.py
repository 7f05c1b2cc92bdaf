"""Dying ReLU: dead at birth against the bias, dead after training against the rate, and how leaks recover."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import below, beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error, within_errors
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .effort import FULL, Effort

BIASES = (-6.0, -5.0, -4.5, -4.0, -3.5, -3.0, -2.0)
RATES = (0.01, 0.1, 0.3, 1.0, 3.0)
TRAINED_BIASES = (0.0, -1.0)
SLOPES = (0.01, 0.03, 0.1, 0.3)
RECTIFIERS = ("relu", "leaky_relu", "prelu")
# The unit that is to recover: its inputs, its rate, how many standard deviations below 0 it starts, its patience.
FAN_IN, RATE, BELOW, PATIENCE = 64, 1e-3, 4.0, 20_000


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Count dead units as drawn and after training; push units below zero and count steps until they are back."""
    born, panels = _born(bench, effort)
    died, shown = _died(bench, effort)
    back, recovery = _recovery(effort)
    trained, accuracies = _trained(bench, effort)
    return Section(
        name="dying",
        title="Dying ReLU",
        claim="A ReLU unit that is negative on all examples never updates again; a leak lets it recover, a trained "
        "slope more so.",
        prediction="A unit is dead at birth with probability E[Φ(-(b + √c g)/√(1 - c))^m]; larger rates kill more; "
        "with slope a recovery takes distance / (a · rate) steps, never with a = 0.",
        chart=below(beside(panels, shown), beside(recovery, accuracies)),
        checks=(*born, *died, *back, *trained),
        verdict=(
            "it holds for ReLU and leaky ReLU: recovery takes as long as 1/a says. A trained slope does not bring the "
            "unit back above zero sooner: its own gradient knows only the mean of what is negative; it lowers a."
        ),
    )


def _born(bench: Bench, effort: Effort) -> tuple[list[Check], Any]:
    """Shares of dead units of wide networks on Gaussian data, whose examples are uncorrelated in the first layer."""
    results = bench.run(
        Spec.of(
            name="born-with-bias",
            fixed={
                "data": "gaussian", "examples": 128, "depth": 1, "width": 4 * effort.width, "activation": "relu",
                "initializer": "he-normal", "steps": 0, "curve": 0,
            },
            product={"bias_mean": list(BIASES)},
            seeds=effort.seeds,
        )
    )  # fmt: skip
    checks, lines, points = [], [], []
    for bias in BIASES:
        shares = [at[0] for at in results.where(bias_mean=bias).column("start_dead_fraction")]
        share = theory.dead_unit_probability(examples=128, shift=bias / math.sqrt(2))
        sd = math.sqrt(share * (1 - share) / (4 * effort.width))
        mean, error = mean_and_error(shares)
        # 128 examples of 64 features differ in norm by 1/sqrt(128) each, which moves b / sd; see `_norms_matter`.
        allowed = 5 * sd / math.sqrt(effort.seeds) + _norms_matter(bias, share)
        checks.append(
            Check(what=f"dead at birth, bias {bias:g}", predicted=share, measured=mean, error=error, allowed=allowed)
        )
        points.append(point(bias, mean, error, "measured"))
    for bias in np.linspace(min(BIASES), max(BIASES), 60).tolist():
        share = theory.dead_unit_probability(examples=128, shift=bias / math.sqrt(2))
        lines.append({"x": bias, "y": share, "of": "predicted"})
    return checks, panel("Dead at birth, 128 examples", x="bias", y="share of units", lines=lines, points=points)


def _norms_matter(bias: float, share: float) -> float:
    """How far the share is off since inputs of 64 features differ in length: sd of |x| is 1/sqrt(2 · 64)."""
    widths = 1 + np.random.default_rng(0).normal(size=4096) / math.sqrt(2 * FAN_IN)
    alive = np.mean([theory.dead_unit_probability(shift=bias / math.sqrt(2) / abs(w)) for w in widths])
    return abs(float(alive) ** 128 - share)


def _died(bench: Bench, effort: Effort) -> tuple[list[Check], Any]:
    results = bench.run(
        Spec.of(
            name="died",
            fixed={
                "depth": 3, "width": effort.width, "activation": "relu", "initializer": "he-normal",
                "steps": effort.steps, "curve": 0,
            },
            product={"bias_mean": list(TRAINED_BIASES), "learning_rate": list(RATES)},
            seeds=effort.seeds,
        )
    )  # fmt: skip
    points = [
        point(rate, *mean_and_error(_dead(results.where(bias_mean=bias, learning_rate=rate))), f"bias {bias:g}")
        for bias, rate in product(TRAINED_BIASES, RATES)
    ]
    checks = []
    for bias in TRAINED_BIASES:
        few, many = (_dead(results.where(bias_mean=bias, learning_rate=rate)) for rate in (RATES[0], RATES[-2]))
        checks.append(
            clearly_above(f"more dead at rate {RATES[-2]:g} than at {RATES[0]:g}, bias {bias:g}", 0.0, many - few)
        )
    return checks, panel(
        "Dead after training on digits", x="learning rate", y="share of units", points=points, x_log=True
    )


def _dead(results: Results) -> Any:
    """Share of dead units over the hidden layers, as trained; a network that diverged keeps its last finite weights."""
    return np.array([np.mean(at) for at in results.column("end_dead_fraction")])


def _recovery(effort: Effort) -> tuple[list[Check], Any]:
    """Steps until a real unit below zero is above it on some example, against `theory.recovery_steps`."""
    checks, lines, points = [], [], []
    for slope in SLOPES:
        runs = [_steps(nn.LeakyReLU(slope), slope, seed) for seed in range(effort.seeds)]
        ratios = [steps / predicted for steps, predicted in runs]
        mean, error = mean_and_error(ratios)
        checks.append(
            # The leak's own output, a u of the target's 1, adds a |u|; whole steps add one.
            Check(
                what=f"recovery, measured over predicted steps, slope {slope:g}",
                predicted=1.0,
                measured=mean,
                error=error,
                allowed=5 * error + slope * 2 * BELOW + max(1 / predicted for _, predicted in runs),
            )
        )
        points.append(point(slope, *mean_and_error(steps for steps, _ in runs), "leaky, measured"))
        lines.append({"x": slope, "y": mean_and_error(p for _, p in runs)[0], "of": "leaky, predicted"})
    still = [_steps(nn.ReLU(), 0.0, seed)[0] for seed in range(effort.seeds)]
    checks.append(clearly_above("steps without recovery, ReLU", PATIENCE, still))
    return checks, panel(
        "Steps until a unit is back", x="slope", y="steps", lines=lines, points=points, x_log=True, y_log=True
    )


def _steps(phi: nn.Module, slope: float, seed: int) -> tuple[int, float]:
    """Steps that a unit took whose target is 1, and those that theory says, from the first step's own movement."""
    generator = torch.Generator().manual_seed(seed)
    x_BI = torch.randn(64, FAN_IN, generator=generator, dtype=torch.float64)
    unit = nn.utils.skip_init(nn.Linear, FAN_IN, 1, dtype=torch.float64)
    with torch.no_grad():
        unit.weight.normal_(0, FAN_IN**-0.5, generator=generator)
        unit.bias.fill_(-BELOW)
        u_B = unit(x_BI).squeeze(1)
        unit.bias -= (u_B.max() + 0.5).clamp(min=0)  # all examples are below zero
        distance = -float(unit(x_BI).max())
        # The mean loss (phi(u) - 1)^2 moves u by 2 rate (1 - phi) (mean of x · x_nearest + 1) where the unit is active.
        nearest = int(unit(x_BI).argmax())
        rate = 2 * RATE * (float((x_BI @ x_BI[nearest]).mean()) + 1)
    predicted = theory.recovery_steps(slope, distance=distance, rate=rate)
    if slope == 0:
        return _until_back(unit, phi, x_BI, min(PATIENCE, 200)) and PATIENCE, predicted
    return _until_back(unit, phi, x_BI, PATIENCE * 5), predicted


def _until_back(unit: nn.Linear, phi: nn.Module, x_BI: torch.Tensor, at_most: int) -> int:
    """Gradient descent until some example is above zero; `at_most` where none ever was."""
    optimizer = torch.optim.SGD(unit.parameters(), lr=RATE)
    for step in range(at_most):
        u_B1 = unit(x_BI)
        if float(u_B1.detach().max()) > 0:
            return step
        optimizer.zero_grad()
        (phi(u_B1) - 1).square().mean().backward()
        optimizer.step()
    return at_most


def _trained(bench: Bench, effort: Effort) -> tuple[list[Check], Any]:
    """Digits from networks whose units begin nearly all dead."""
    results = bench.run(
        Spec.of(
            name="recovered",
            fixed={
                "depth": 3, "width": effort.width, "initializer": "he-normal", "steps": 2 * effort.steps,
                "learning_rate": 0.05, "curve": 0,
            },
            product={"activation": list(RECTIFIERS), "bias_mean": [0.0, -2.0, -4.0, -8.0]},
            seeds=effort.seeds,
        )
    )  # fmt: skip
    means = results.mean("test_accuracy", by=["bias_mean", "activation"])
    points = [point(bias, mean, error, name) for (bias, name), mean, error in means]
    relu, leaky = (results.where(activation=a, bias_mean=-8.0).column("test_accuracy") for a in RECTIFIERS[:2])
    checks = [clearly_above("accuracy of leaky less that of plain ReLU from bias -8", 0.0, leaky - relu)]
    checks.append(within_errors("dead units of ReLU at bias -8 after training", 1.0, [_first_dead(results)] * 2))
    return checks, panel("Digits from units below zero", x="bias at the start", y="test accuracy", points=points)


def _first_dead(results: Results) -> float:
    return float(
        np.mean([at[1] for at in results.where(activation="relu", bias_mean=-8.0).column("end_dead_fraction")])
    )
