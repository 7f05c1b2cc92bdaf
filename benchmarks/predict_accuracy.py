"""Predictions of plain MLPs against 2000 draws of each: which of the bounds hold, row by row.

Draws of weights are not needed: given what goes in, the units of a layer are Gaussian with its Gram matrix, and a
gradient W^T g lies along the inputs by (W x)·g and is else a fresh Gaussian of the Gram matrix of g. So a draw of a
layer costs B² N and not B N². That is exact for normal weights; uniform ones are drawn. The gradient at the output has
independent normal entries.

    python -m benchmarks.predict_accuracy [activation-initializer-width-depth ...]
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.bounds import end, verdict
from steadygrad.init.critical_point import critical_point
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.operators.positions import as_signal
from steadygrad.prediction.readout import deviation
from steadygrad.prediction.run import interpreted, interpreting
from steadygrad.profile import LayerSignal
from steadygrad.theory import activation

DRAWS, AT_ONCE, BATCH = 2000, 250, 8
ACTIVATIONS: dict[str, tuple[type[nn.Module], Callable[[torch.Tensor], torch.Tensor], str]] = {
    "relu": (nn.ReLU, F.relu, "relu"),
    "leaky": (nn.LeakyReLU, F.leaky_relu, "leaky_relu"),
    "tanh": (nn.Tanh, torch.tanh, "tanh"),
    "gelu": (nn.GELU, F.gelu, "gelu"),
    "silu": (nn.SiLU, F.silu, "silu"),
}
NETWORKS = (
    "relu-he-64-5", "relu-he-64-20", "relu-he-64-50", "relu-he-256-20", "relu-default-64-20", "leaky-he-64-20",
    "tanh-xavier-64-5", "tanh-xavier-64-20", "tanh-xavier-256-20", "tanh-critical-64-20", "tanh-critical-64-50",
    "gelu-critical-64-20", "gelu-default-64-20", "gelu-he-64-5", "gelu-he-256-20", "silu-critical-64-20",
    "silu-he-64-5",
)  # fmt: skip
Row = dict[str, np.ndarray]


def scales(kind: str, phi: str, width: int, depth: int) -> tuple[float, float, bool]:
    """sigma_w, the deviation of the biases, and whether these are uniform."""
    if kind == "critical":
        point = critical_point(activation(ACTIVATIONS[phi][2]), depth, width)
        return point.sigma_w, point.sigma_b, False
    return {"he": (2**0.5, 0.0, False), "xavier": (1.0, 0.0, False), "default": (3**-0.5, (3 * width) ** -0.5, True)}[
        kind
    ]


def network(phi: str, kind: str, width: int, depth: int) -> nn.Sequential:
    model = nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), ACTIVATIONS[phi][0]())))
    sigma_w, sigma_b, uniform = scales(kind, phi, width, depth)
    for layer in model if not uniform else ():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=sigma_w / width**0.5)
            nn.init.normal_(layer.bias, std=sigma_b) if sigma_b else nn.init.zeros_(layer.bias)
    return model


def inputs(width: int) -> torch.Tensor:
    return torch.randn(BATCH, width, generator=torch.Generator().manual_seed(0))


def drawn(phi: str, kind: str, width: int, depth: int) -> np.ndarray:
    """Logs of q, of d, of grad_q, [draws, 3, rows]."""
    torch.manual_seed(0)
    parts = [some_draws(phi, kind, width, depth, AT_ONCE) for _ in range(DRAWS // AT_ONCE)]
    return np.concatenate(parts)


def some_draws(phi: str, kind: str, width: int, depth: int, draws: int) -> np.ndarray:
    sigma_w, sigma_b, uniform = scales(kind, phi, width, depth)
    shape, deviation = (draws, width, BATCH), sigma_w / width**0.5
    x = inputs(width).double().T.expand(shape)
    kept, q, d, grad_q = [], [], [], []
    for _ in range(depth):
        if uniform:  # all of the weights, on the basis of all inputs
            basis, root = torch.eye(width, dtype=torch.float64), x
            on_basis = (2 * torch.rand(draws, width, width, dtype=torch.float64) - 1) * 3**0.5 * deviation
        else:
            basis, root = factors(x)
            on_basis = torch.randn(shape, dtype=torch.float64) * deviation
        z = on_basis @ root + sigma_b * biases(draws, width, uniform)
        x, slope = with_slope(ACTIVATIONS[phi][1], z)
        kept.append((basis, on_basis, slope))
        for t in (z, x):
            q.append(log_mean_square(t))
            d.append(t.var(2).mean(1).log())
    g = torch.randn(shape, dtype=torch.float64)
    for basis, on_basis, slope in reversed(kept):
        inner = g * slope
        grad_q += [log_mean_square(g), log_mean_square(inner)]
        known = basis @ (on_basis.transpose(1, 2) @ inner)
        if uniform:
            g = known
            continue
        fresh = torch.randn(shape, dtype=torch.float64) * deviation
        fresh = fresh - basis @ (basis.transpose(1, 2) @ fresh)
        g = known + fresh @ factors(inner)[1]
    return np.stack([torch.stack(rows, 1).numpy() for rows in (q, d, grad_q[::-1])], 1)


def factors(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An orthonormal basis of the examples, and the examples in it; by Cholesky where that is stable."""
    root, failed = torch.linalg.cholesky_ex(x.transpose(1, 2) @ x, upper=True)
    if int(failed.max()):
        return torch.linalg.qr(x)
    return torch.linalg.solve_triangular(root, x, upper=True, left=False), root


def biases(draws: int, width: int, uniform: bool) -> torch.Tensor:
    if uniform:
        return (2 * torch.rand(draws, width, 1, dtype=torch.float64) - 1) * 3**0.5
    return torch.randn(draws, width, 1, dtype=torch.float64)


def with_slope(f: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.detach().requires_grad_()
    y = f(z)
    return y.detach(), torch.autograd.grad(y.sum(), z)[0]


def log_mean_square(x: torch.Tensor) -> torch.Tensor:
    return x.detach().square().mean((1, 2)).log()


def compared(phi: str, kind: str, width: int, depth: int) -> tuple[Row, Row, np.ndarray]:
    """For q and grad_q what is off, per row; and log (1 - c) beside the median draw's."""
    logs = drawn(phi, kind, width, depth)
    rows, deviations = predicted(lambda: network(phi, kind, width, depth), inputs(width))
    q, grad_q = (against(logs[:, i], rows, name, deviations[name]) for i, name in ((0, "q"), (2, "grad_q")))
    return q, grad_q, np.log([row.signal / row.q for row in rows]) - np.median(logs[:, 1] - logs[:, 0], 0)


def predicted(make: Callable[[], nn.Module], x: torch.Tensor) -> tuple[list[LayerSignal], Row]:
    """The rows of a prediction, and the standard deviations of their logs of q and of grad_q."""
    examples = examples_of(x)
    with interpreting(examples.batch) as run:
        found = interpreted(make, examples, run)
    sides = {"q": [row.output for row in found.rows], "grad_q": [row.gradient for row in found.rows]}
    signals = {name: [as_signal(run, value) for value in values] for name, values in sides.items()}
    return list(found.profile), {
        name: np.array([deviation(known, run) for known in column]) for name, column in signals.items()
    }


def against(logs: np.ndarray, rows: list, name: str, deviations: np.ndarray) -> Row:
    low, middle, high = (np.log([getattr(row, name + at) for row in rows]) for at in ("_low", "", "_high"))
    error = np.maximum(0.03, 4 * 1.2533 * logs.std(0) / DRAWS**0.5)
    return {
        "off": abs(middle - np.median(logs, 0)) / error,
        "deviation": deviations / logs.std(0),
        "held": ((logs >= low) & (logs <= high)).mean(0),
        "width": (high - low) / np.diff(np.quantile(logs, [0.025, 0.975], axis=0), axis=0)[0],
    }


def judged(side: Row) -> tuple[str, bool]:
    """The worst of a column over all rows, and whether all bounds hold."""
    deviation = float(np.exp(abs(np.log(side["deviation"])).max()) - 1)
    held = bool(
        side["off"].max() <= 1 and deviation <= 0.1 and side["width"].max() <= 1.2
        and side["held"].min() >= 0.93 and side["held"].max() <= 0.97
    )  # fmt: skip
    within = f"{side['held'].min():.3f} to {side['held'].max():.3f}"
    return f"{side['off'].max():5.2f} {deviation:5.0%}  {within} {side['width'].max():5.2f}", held


def main() -> None:
    warnings.filterwarnings("ignore")
    print(f"{DRAWS} draws, {BATCH} examples; the worst row of each. off: of the median log, in units of 0.03 or four")
    print("standard errors (bound 1); std: of the log (10%); in the band (0.93 to 0.97); its width (1.2); 1 - c (10%)")
    print(f"{'':22} {'q: off   std  in the band    width':38} {'grad_q':36} 1 - c")
    for name in sys.argv[1:] if __name__ == "__main__" and sys.argv[1:] else NETWORKS:
        phi, kind, width, depth = name.split("-")
        q, grad_q, c = compared(phi, kind, int(width), int(depth))
        (said, q_held), (said_of_gradient, grad_held) = judged(q), judged(grad_q)
        off = float(np.exp(abs(c).max()) - 1)
        verdicts = ", ".join((verdict(q_held), verdict(grad_held), verdict(off <= 0.1)))
        print(f"{name:22} {said:38} {said_of_gradient:36} {off:5.0%}  {verdicts}", flush=True)


if __name__ == "__main__":
    main()
    end()
