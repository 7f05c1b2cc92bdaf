"""Draw the pictures of these pages: `python -m docs.theory.pictures` from the root of the repository."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steadygrad import theory
from steadygrad.theory import pictures

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
}


def main() -> None:
    """Write every picture as SVG next to the pages."""
    HERE.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(HERE / f"{name}.svg")


if __name__ == "__main__":
    main()
