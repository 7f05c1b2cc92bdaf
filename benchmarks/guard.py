"""A guarded step against torch's own: backward, clip_grad_norm_, step; and the norm clipping alone.

Both sides run in turn on the same tensors, in one process on one thread, by its processor time; a ratio is that of
medians, which the bound holds for, beside it that of minima. Clipping acts at every step ("clipped") or never ("free").
Batches hold 8 examples: the larger they are, the less the update weighs and the nearer to 1 every ratio is. Bounds:
1.02 for a step, 0.95 where the factor of a clipped gradient goes into a fused optimizer's kernel, 1.0 for the clipping
alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.bounds import end, verdict
from steadygrad.guard import Guard, clip

FREE, CLIPPED = 1e9, 1e-3


class Many(nn.Module):
    """400 matrices of 32 x 32 in 50 chains of 8, multiplied in batches of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(32, 32) / 32**0.5) for _ in range(400))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        """The sum of the mean squares that come out of the chains."""
        total = x_BD.new_zeros(())
        for start in range(0, 400, 8):
            h_BD = x_BD
            for weight in self.weights[start : start + 8]:
                h_BD = h_BD @ weight
            total = total + h_BD.square().mean()
        return total


def mlp() -> nn.Module:
    layers = [m for _ in range(8) for m in (nn.Linear(2048, 2048), nn.ReLU())]
    return nn.Sequential(*layers)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., torch.optim.Optimizer], tuple[int, int]]] = {
    "8x2048 MLP, SGD": (mlp, lambda p: torch.optim.SGD(p, lr=1e-6), (8, 2048)),
    "8x2048 MLP, fused Adam": (mlp, lambda p: torch.optim.Adam(p, lr=1e-6, fused=True), (8, 2048)),
    "400 small tensors, SGD": (Many, lambda p: torch.optim.SGD(p, lr=1e-6), (8, 32)),
    "400 small tensors, fused Adam": (Many, lambda p: torch.optim.Adam(p, lr=1e-6, fused=True), (8, 32)),
}


def loss_of(model: nn.Module, x_BD: torch.Tensor) -> torch.Tensor:
    return model(x_BD).square().mean()


def plain_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float, shape: tuple[int, int]
) -> Callable[[], None]:
    x_BD = torch.randn(shape)

    def step() -> None:
        loss_of(model, x_BD).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def guarded_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float, shape: tuple[int, int]
) -> Callable[[], None]:
    x_BD, guard = torch.randn(shape), Guard(model, optimizer, clip=clip.ByNorm(max_norm))
    return lambda: guard.step(loss_of(model, x_BD))


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The ratio of medians and that of minima, the order swapped at every repeat, after two rounds of warm-up."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for i in range(repeats + 2):
        for which in (0, 1) if i % 2 else (1, 0):
            start = time.process_time()
            (ours, theirs)[which]()
            times[which].append(time.process_time() - start)
    kept = {which: values[2:] for which, values in times.items()}
    return (
        statistics.median(kept[0]) / statistics.median(kept[1]),
        min(kept[0]) / min(kept[1]),
    )


def gradients_of(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for p in parameters:
        p.grad = torch.randn_like(p)
    return parameters


def alone(shapes: list[tuple[int, ...]], max_norm: float, repeats: int) -> tuple[float, float]:
    """`clip.norm_` against `clip_grad_norm_`, where every call clips: a limit below a norm that stays at it."""
    parameters = gradients_of(shapes)
    limits = iter(lambda: FREE, 0.0) if max_norm == FREE else iter(1e3 * 0.99**i for i in range(10**6))
    return interleaved(
        lambda: clip.norm_(parameters, next(limits)),
        lambda: torch.nn.utils.clip_grad_norm_(parameters, next(limits)),
        repeats,
    )


def show(name: str, ratios: tuple[float, float], bound: float) -> bool:
    held = ratios[0] <= bound
    print(f"{name:52} {ratios[0]:8.3f} {ratios[1]:8.3f} {bound:6.2f}  {verdict(held)}", flush=True)
    return held


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    print(f"{'time / time with torch alone':52} {'medians':>8} {'minima':>8} {'bound':>6}")
    for name, (make, optimize, shape) in CASES.items():
        for label, max_norm in (("free", FREE), ("clipped", CLIPPED)):
            model = make()
            optimizer = optimize(model.parameters())
            sides = [f(model, optimizer, max_norm, shape) for f in (guarded_step, plain_step)]
            count = repeats if shape[1] == 2048 else 6 * repeats
            folds = label == "clipped" and "fused" in name
            show(f"{name}, {label}", interleaved(*sides, count), 0.95 if folds else 1.02)
    for name, shapes in (("8 x 2048 x 2048", [(2048, 2048)] * 8), ("400 x 32 x 32", [(32, 32)] * 400)):
        for label, max_norm in (("free", FREE), ("clipped", CLIPPED)):
            show(f"clip.norm_ alone, {name}, {label}", alone(shapes, max_norm, 4 * repeats), 1.0)


if __name__ == "__main__":
    main()
    end()
