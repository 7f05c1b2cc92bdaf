"""Draw the pictures of these pages: `python -m docs.theory.pictures` from the root of the repository."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import torch
from torch import nn

from steadygrad import measure, predict, theory
from steadygrad.profile import Profile
from steadygrad.theory import pictures
from steadygrad.theory.pictures.chart import lines, titled

HERE = Path(__file__).parent / "pictures"
NARROW = {"depth": 50, "width": 256, "inputs": 256}


def _against_depth(activation: str, inits: list[str], column: str, title: str) -> Any:
    profiles = {name: theory.mlp(activation=activation, init=name, **NARROW) for name in inits}
    return pictures.signal_with_depth(profiles, column=column, title=title)  # type: ignore[arg-type]


def _clipped() -> Any:
    norms = {
        name: theory.gradient_norm(
            theory.mlp(depth=30, width=64, activation="relu", init=name, outputs=10),
            batch_size=32,
            output_gradient=0.09,
        )
        for name in ("he-normal", "xavier-normal")
    }
    return pictures.clipped_share(norms)


def _predicted_and_drawn() -> Any:
    """The band of a network of width 64 and what ten draws of it do: predict against measure."""

    def network() -> nn.Module:
        layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Tanh())]
        return nn.Sequential(*layers, nn.Linear(64, 10))

    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = [measure(network(), x) for _ in range(10)]
    return alt.hconcat(*(_band(predict(network, x), draws, column) for column in ("q", "grad_q")))


def _band(predicted: Profile, draws: list[Profile], column: str) -> Any:
    def rows(profile: Profile, name: str, label: str) -> list[dict[str, Any]]:
        linear = [row for row in profile if row.kind == "Linear"]
        return [{"layer": i + 1, column: getattr(row, name), "of": label} for i, row in enumerate(linear)]

    names = {"_high": "97.5%", "": "median", "_low": "2.5%"}
    ends = [row for end, label in names.items() for row in rows(predicted, column + end, label)]
    points = [row for profile in draws for row in rows(profile, column, "a draw")]
    shown = [lines(each, x="layer", y=column, color="of", y_log=True, points=each is points) for each in (ends, points)]
    title = "Second moment of the output" if column == "q" else "Squared gradient"
    return titled(*shown, title=title)


PICTURES: dict[str, Callable[[], Any]] = {
    "variance-map": lambda: pictures.variance_map("tanh", sigma_w=1.3, sigma_b=0.3),
    "correlation-map": lambda: pictures.correlation_map("relu"),
    "signal-tanh": lambda: _against_depth(
        "tanh", ["torch-default", "xavier-normal", "unit-gain"], "grad_q", "Squared gradient of a tanh network"
    ),
    "xavier-factors": lambda: pictures.forward_and_backward_factors(),
    "phase-tanh": lambda: pictures.phase_diagram("tanh"),
    "signal-relu": lambda: _against_depth(
        "relu", ["he-normal", "xavier-normal", "torch-default"], "signal", "What differs between examples, ReLU"
    ),
    "norm-band": lambda: pictures.norm_band("relu", width=64, depth=50),
    "jacobian": lambda: pictures.jacobian_spectrum("relu", sigma_w=math.sqrt(2), depths=(2, 4, 8)),
    "dead-units": pictures.dead_units,
    "clipped-share": _clipped,
    "softmax-scale": pictures.softmax_scale,
    "predict": _predicted_and_drawn,
}


def main() -> None:
    """Write every picture as SVG next to the pages."""
    HERE.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(HERE / f"{name}.svg")


if __name__ == "__main__":
    main()
