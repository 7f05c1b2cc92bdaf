"""Var(y) = n_in Var(w) Var(x): real Linear layers against the formula."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from steadygrad.report.study_page import Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import beside, panel, point
from steadygrad.study.builtin.seeds import mean_and_error, within_errors
from steadygrad.study.data import load

from .effort import FULL, Effort

FANS = (16, 64, 256, 1024)
FAN_OUT = 64
MEANS = (0.0, 0.5, 1.0, 2.0)
SIGMA_B = 0.5
Law = Literal["normal", "uniform"]


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Measure E[y^2] of Linear layers: over fan_in and law of the weights, over the input's mean, and of digits."""
    del bench
    seeds = range(4 * effort.seeds)
    checks, fans, means, formula = [], [], [], []
    for law in ("normal", "uniform"):
        for fan_in in FANS:
            x_BI = _inputs(fan_in, 0.0)
            ratios = [_second(x_BI, law, seed) / _predicted(x_BI) for seed in seeds]
            checks.append(within_errors(f"E[y²] / (n Var(w) E[x²] + Var(b)), {law}, n = {fan_in}", 1.0, ratios))
            fans.append(point(fan_in, *mean_and_error(ratios), law))
    for mean in MEANS:
        x_BI = _inputs(256, mean)
        values = [_second(x_BI, "normal", seed) for seed in seeds]
        checks.append(within_errors(f"E[y²] of inputs with mean {mean:g}", _predicted(x_BI), values))
        means.append(point(mean, *mean_and_error(values), "measured E[y²]"))
        formula.append({"x": mean, "y": _predicted(x_BI), "of": "with E[x²]"})
        formula.append({"x": mean, "y": float(x_BI.var(correction=0)) + SIGMA_B**2, "of": "with Var(x)"})
    pixels = load("digits").inputs[:128].float() + 1.0
    values = [_second(pixels, "normal", seed) for seed in seeds]
    checks.append(within_errors("E[y²] of digits, moved to mean 1", _predicted(pixels), values))
    one = [{"x": fan, "y": 1.0, "of": "predicted"} for fan in FANS]
    chart = beside(
        panel("Measured over predicted", x="fan_in", y="ratio", lines=one, points=fans, x_log=True),
        panel("Inputs that are not centred", x="mean of x", y="E[y²]", lines=formula, points=means),
    )
    return Section(
        name="variance",
        title="Variance of y = Wx + b",
        claim="Var(y) = n_in Var(w) Var(x) for centred, independent weights and inputs.",
        prediction="E[y²] = n_in Var(w) E[x²] + Var(b), whatever the weights' law and the inputs' dependence.",
        chart=chart,
        checks=tuple(checks),
        verdict=(
            "the claim holds for centred inputs. Where inputs have a mean, as digits and every ReLU output have, E[x²] "
            "takes the place of Var(x); a bias adds its variance."
        ),
    )


def _inputs(fan_in: int, mean: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(fan_in)
    return torch.randn(128, fan_in, generator=generator) + mean


def _predicted(x_BI: torch.Tensor) -> float:
    return float(x_BI.square().mean()) + SIGMA_B**2


def _second(x_BI: torch.Tensor, law: Law, seed: int) -> float:
    """E[y²] of a Linear with Var(w) = 1/fan_in."""
    generator = torch.Generator().manual_seed(seed)
    fan_in = x_BI.shape[1]
    linear = nn.utils.skip_init(nn.Linear, fan_in, FAN_OUT)
    with torch.no_grad():
        if law == "normal":
            linear.weight.normal_(0, fan_in**-0.5, generator=generator)
        else:
            linear.weight.uniform_(-((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5, generator=generator)
        linear.bias.normal_(0, SIGMA_B, generator=generator)
        return float(linear(x_BI).square().mean())
