"""How a unit below zero comes back: by a leak in 1/a steps, by ReLU never, by a trained slope not at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from steadygrad import theory
from steadygrad.report.study_page import Check
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import panel, point
from steadygrad.study.builtin.seeds import SIGMAS, clearly_above, mean_and_error
from steadygrad.study.spec import Spec

from .effort import Effort

SLOPES = (0.003, 0.01, 0.03)
TRAINED_SLOPE = 0.1
# The unit: its inputs, its rate, how far below zero its bias starts it, how long a unit is waited for that stays there.
FAN_IN, RATE, BELOW, PATIENCE = 64, 0.01, 4.0, 1000
RECTIFIERS = {"relu": None, "leaky_relu": 0.01, "leaky_relu, a = 0.25": 0.25, "prelu": 0.25}
BIASES = (0.0, -1.0, -2.0, -4.0)


def unit_recovers(effort: Effort) -> tuple[list[Check], Any]:
    """Count the steps until a real unit is above zero on some example, against `theory.recovery_steps`."""
    checks, lines, points = [], [], []
    for slope in SLOPES:
        units = [_unit(seed) for seed in range(effort.seeds)]
        predicted = [_predicted(*unit, slope) for unit in units]
        steps = [_until_back(*unit, nn.LeakyReLU(slope), 20 * int(p)) for unit, p in zip(units, predicted, strict=True)]
        mean, error = mean_and_error(s / p for s, p in zip(steps, predicted, strict=True))
        # The unit is a u away from its target 1 as well, |u| up to BELOW and four deviations; whole steps add one.
        allowed = SIGMAS * error + slope * (BELOW + 4) + 1 / min(predicted)
        what = f"recovery, measured over predicted steps, slope {slope:g}"
        checks.append(Check(what=what, predicted=1.0, measured=mean, error=error, allowed=allowed))
        points.append(point(slope, *mean_and_error(steps), "measured"))
        lines.append({"x": slope, "y": mean_and_error(predicted)[0], "of": "predicted"})
    for name, phi in (("ReLU", nn.ReLU), ("PReLU from 0.1", lambda: nn.PReLU(init=TRAINED_SLOPE, dtype=torch.float64))):
        still = [_until_back(*_unit(seed), phi(), PATIENCE) for seed in range(effort.seeds)]
        checks.append(clearly_above(f"steps without recovery, {name}", PATIENCE, still))
    title = "Steps until a unit is back (leaky)"
    return checks, panel(title, x="slope", y="steps", lines=lines, points=points, x_log=True, y_log=True)


def _unit(seed: int) -> tuple[nn.Linear, torch.Tensor]:
    """A unit that is below zero on all of its examples, and these."""
    generator = torch.Generator().manual_seed(seed)
    x_BI = torch.randn(64, FAN_IN, generator=generator, dtype=torch.float64)
    unit = nn.utils.skip_init(nn.Linear, FAN_IN, 1, dtype=torch.float64)
    with torch.no_grad():
        unit.weight.normal_(0, FAN_IN**-0.5, generator=generator)
        unit.bias.fill_(-BELOW)
        unit.bias -= (unit(x_BI).max() + 0.5).clamp(min=0)
    return unit, x_BI


def _predicted(unit: nn.Linear, x_BI: torch.Tensor, slope: float) -> float:
    """Steps of the example that is back first: the loss (phi(u) - 1)² moves an active u by 2 rate (mean x·x' + 1)."""
    with torch.no_grad():
        distances = (-unit(x_BI).squeeze(1)).tolist()
        rates = (2 * RATE * ((x_BI @ x_BI.T).mean(1) + 1)).tolist()
    pairs = zip(distances, rates, strict=True)
    return min(theory.recovery_steps(slope, distance=d, rate=rate) for d, rate in pairs if rate > 0)


def _until_back(unit: nn.Linear, x_BI: torch.Tensor, phi: nn.Module, at_most: int) -> int:
    """Gradient descent until some example is above zero; `at_most` where none ever was."""
    optimizer = torch.optim.SGD([*unit.parameters(), *phi.parameters()], lr=RATE)
    for step in range(at_most):
        u_B1 = unit(x_BI)
        if float(u_B1.detach().max()) > 0:
            return step
        optimizer.zero_grad()
        (phi(u_B1) - 1).square().mean().backward()
        optimizer.step()
    return at_most


def network_recovers(bench: Bench, effort: Effort) -> tuple[list[Check], Any]:
    """Train networks on digits whose units begin below zero."""
    activations = [name.split(",")[0] for name in RECTIFIERS]
    results = bench.run(
        Spec.of(
            name="recovered",
            fixed={
                "depth": 3, "width": effort.width, "initializer": "he-normal", "steps": 2 * effort.steps,
                "learning_rate": 0.05, "curve": 0,
            },
            product={"bias_mean": list(BIASES)},
            zip=[{"activation": activations, "slope": list(RECTIFIERS.values())}],
            seeds=effort.seeds,
        )
    )  # fmt: skip
    cells = {
        (name, bias): results.where(activation=activation, slope=slope, bias_mean=bias).column("test_accuracy")
        for activation, (name, slope) in zip(activations, RECTIFIERS.items(), strict=True)
        for bias in BIASES
    }
    # Beside each other: ReLU and a small leak come out alike.
    aside = {name: 0.08 * (i - (len(RECTIFIERS) - 1) / 2) for i, name in enumerate(RECTIFIERS)}
    points = [point(bias + aside[name], *mean_and_error(acc), name) for (name, bias), acc in cells.items()]
    checks = [
        clearly_above(f"accuracy from bias -2, {name} less relu", 0.0, cells[name, -2.0] - cells["relu", -2.0])
        for name in list(RECTIFIERS)[2:]
    ]
    return checks, panel("Digits from units below zero", x="bias at the start", y="test accuracy", points=points)
