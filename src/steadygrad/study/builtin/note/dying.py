"""Dying ReLU: dead at birth against the bias, dead after training against the rate, and how leaks recover."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from torch import nn

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import below, beside, panel, point
from steadygrad.study.builtin.seeds import clearly_above, mean_and_error, within_errors
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .effort import FULL, Effort
from .recovery import network_recovers, unit_recovers

BIASES = (-6.0, -5.0, -4.5, -4.0, -3.5, -3.0)
RATES = (0.01, 0.1, 0.3, 1.0)
TRAINED_BIASES = (0.0, -1.0)
FAN_IN, EXAMPLES, UNITS = 64, 128, 256


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Count dead units as drawn and after training; push units below zero and count steps until they are back."""
    born, shares = _born(effort)
    died, trained = _died(bench, effort)
    back, recovery = unit_recovers(effort)
    accurate, accuracies = network_recovers(bench, effort)
    return Section(
        name="dying",
        title="Dying ReLU",
        claim="A ReLU unit that is negative on all examples never updates again; a leak lets it recover, a trained "
        "slope more so.",
        prediction="A unit is dead at birth with probability E[Φ(-b/s)^m], s its pre-activation's deviation; rates "
        "that overshoot kill; with slope a recovery takes distance / (a rate) steps, and never comes with a = 0.",
        chart=below(beside(shares, trained), beside(recovery, accuracies)),
        checks=(*born, *died, *back, *accurate),
        verdict=(
            "it holds for one unit: ReLU never comes back, a leak does in 1/a steps, a trained slope does not: it "
            "turns negative instead. Within a network a dead unit may come back when the layers below it move, and a "
            "leak of 0.01 is too small to matter in training; one of 0.25 matters, trained or not."
        ),
    )


def _born(effort: Effort) -> tuple[list[Check], Any]:
    """Shares of dead units of real layers, each seed with weights and Gaussian examples of its own."""
    checks, points = [], []
    for bias in BIASES:
        share = _predicted(bias)
        shares = [_dead_at_birth(bias, seed) for seed in range(4 * effort.seeds)]
        checks.append(within_errors(f"dead at birth, bias {bias:g}", share, shares))
        points.append(point(bias, *mean_and_error(shares), "measured"))
    curve = np.linspace(min(BIASES), max(BIASES), 60).tolist()
    lines = [{"x": bias, "y": _predicted(bias), "of": "predicted"} for bias in curve]
    title = f"Dead at birth, {EXAMPLES} examples"
    return checks, panel(title, x="bias", y="share of units", lines=lines, points=points)


def _predicted(bias: float) -> float:
    """E_w[P(u <= 0)^m]: given w the examples are independent; |w|² = 2/n chi²_n, by its quantiles."""
    quantiles = chi2.ppf((np.arange(400) + 0.5) / 400, FAN_IN) / FAN_IN
    negative = [theory.dead_unit_probability(shift=bias / math.sqrt(2 * q)) for q in quantiles.tolist()]
    return float(np.mean(np.array(negative) ** EXAMPLES))


def _dead_at_birth(bias: float, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    x_BI = torch.randn(EXAMPLES, FAN_IN, generator=generator)
    linear = nn.utils.skip_init(nn.Linear, FAN_IN, UNITS)
    with torch.no_grad():
        linear.weight.normal_(0, math.sqrt(2 / FAN_IN), generator=generator)
        linear.bias.fill_(bias)
        return float((linear(x_BI).relu() == 0).all(0).double().mean())


def _died(bench: Bench, effort: Effort) -> tuple[list[Check], Any]:
    results = bench.run(
        Spec.of(
            name="died",
            fixed={
                "depth": 3, "width": effort.width, "activation": "relu", "initializer": "he-normal",
                "steps": effort.steps, "curve": 0,
            },
            product={"bias_mean": list(TRAINED_BIASES), "learning_rate": list(RATES)},
            seeds=2 * effort.seeds,
        )
    )  # fmt: skip
    dead = {
        (bias, rate): _dead(results.where(bias_mean=bias, learning_rate=rate))
        for bias, rate in product(TRAINED_BIASES, RATES)
    }
    checks = [
        clearly_above(f"more dead at rate 1 than at 0.3, bias {bias:g}", 0.0, dead[bias, 1.0] - dead[bias, 0.3])
        for bias in TRAINED_BIASES
    ]
    checks.append(clearly_above("come back at rate 0.3, bias -1", 0.0, dead[-1.0, 0.01] - dead[-1.0, 0.3]))
    points = [point(rate, *mean_and_error(shares), f"bias {bias:g}") for (bias, rate), shares in dead.items()]
    return checks, panel(
        "Dead after training on digits", x="learning rate", y="share of units", points=points, x_log=True
    )


def _dead(results: Results) -> Any:
    """Share of dead units over the hidden layers, as trained; a network that diverged keeps its last finite weights."""
    return np.array([np.mean(at) for at in results.column("end_dead_fraction")])
