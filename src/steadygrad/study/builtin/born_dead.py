"""`steadygrad study born-dead`: how often a narrow ReLU network is dead before its first step, and what it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from steadygrad import theory
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench, Conclusion
from steadygrad.study.data import load
from steadygrad.study.population.signals import MEASURED
from steadygrad.study.results import Results
from steadygrad.study.spec import Spec

from .conclude import conclude
from .marks import beside, panel, point
from .seeds import SIGMAS

# As many as the records' shares of dead units are measured on: what is dead on these is dead on all that is trained on.
EXAMPLES = MEASURED


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is drawn and trained.

    Attributes:
        widths: units of a hidden layer.
        depths: hidden layers.
        seeds: networks a cell.
        steps: of training on the digits.
    """

    widths: tuple[int, ...] = (2, 3, 4, 6)
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    seeds: int = 200
    steps: int = 100


FULL = Grid()


def study(bench: Bench, grid: Grid = FULL) -> Conclusion:
    """Count networks with a layer that is all zero, and train networks that are dead on all digits they are shown.

    Args:
        bench: where.
        grid: what is drawn and trained.

    References: Lu, Shin, Su and Karniadakis, "Dying ReLU and initialization", 2019, theorem 3.
    """
    drawn = bench.run(_spec(grid, "one-example", {"examples": 1, "steps": 0}))
    trained = bench.run(_spec(grid, "digits", {"examples": EXAMPLES, "steps": grid.steps, "learning_rate": 0.05}))
    return conclude("born-dead", "ReLU networks that are born dead", [_section(drawn, trained, grid)], bench.out)


def _spec(grid: Grid, name: str, fixed: dict[str, Any]) -> Spec:
    return Spec.of(
        name=name,
        fixed={"activation": "relu", "initializer": "he-normal", "curve": 0, **fixed},
        product={"width": list(grid.widths), "depth": list(grid.depths)},
        seeds=grid.seeds,
    )


def born_dead(results: Results) -> Any:
    """Return for each network whether some hidden layer is all zero on every example that it was measured on."""
    return np.array([max(shares) == 1.0 for shares in results.column("start_dead_fraction")])


def _section(drawn: Results, trained: Results, grid: Grid) -> Section:
    checks, one, every = [], [], []
    for width, depth in product(grid.widths, grid.depths):
        p = theory.born_dead([width] * depth).one_input
        share, error = _share(drawn.where(width=width, depth=depth))
        # Binomial, with one network for what is too rare to have a spread.
        allowed = SIGMAS * math.sqrt(p * (1 - p) / grid.seeds) + 1 / grid.seeds
        what = f"share dead on one input, width {width}, depth {depth}"
        checks.append(Check(what=what, predicted=p, measured=share, error=error, allowed=allowed))
        one.append(point(depth, share, error, str(width)))
        every.append(point(depth, *_share(trained.where(width=width, depth=depth)), str(width)))
    lines = [
        {"x": depth, "y": theory.born_dead([width] * depth).one_input, "of": str(width)}
        for width in grid.widths
        for depth in range(min(grid.depths), max(grid.depths) + 1)
    ]
    return Section(
        name="born-dead",
        title="Born dead",
        claim="A ReLU network may be dead before its first step: the deeper and the narrower, the likelier.",
        prediction="On one input 1 - Π(1 - 2^-N); a network dead on all inputs learns at most a constant, whose "
        "loss is the entropy of the classes or more.",
        chart=beside(
            panel("Dead on one input", x="depth", y="share", lines=lines, points=one, x_log=True, legend="width"),
            panel(f"Dead on {EXAMPLES} digits", x="depth", y="share", points=every, x_log=True, legend="width"),
        ),
        checks=(*checks, _constant(trained)),
        verdict="it holds. On many inputs fewer networks are dead than on one; those never learn more than a constant.",
    )


def _share(results: Results) -> tuple[float, float]:
    dead = born_dead(results).astype(float)
    share = float(dead.mean())
    return share, math.sqrt(share * (1 - share) / len(dead))


def _constant(trained: Results) -> Check:
    """The best loss of a network born dead is no less than the entropy of the classes."""
    dead = born_dead(trained)
    shares = load("digits").first(EXAMPLES).targets.mean(0)
    entropy = float(-(shares * shares.log()).sum())
    losses = trained.column("train_loss")[dead]
    return Check(
        what=f"lowest loss of {int(dead.sum())} networks born dead, less the entropy",
        predicted=0.0,
        measured=float(np.nanmin(losses)) - entropy if len(losses) else 0.0,
        error=0.0,
        allowed=float(torch.finfo(torch.float32).eps) * EXAMPLES,
        least=True,
    )
