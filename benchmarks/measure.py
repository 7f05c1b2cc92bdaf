"""A measured training step against a plain one: forward, loss, backward and update, with and without full statistics.

Full statistics are those of `sg.measure`: of every call's output and of its gradient the mean, q, its standard error
over examples, the signal between examples and c, the norm of every parameter's gradient, dead and saturated units. Both
sides run in turn on the same model and batch of 128 examples in one process, on one thread, by its processor time; a
ratio is that of medians, which the bound holds for, beside it that of minima. Plain SGD is the cheapest update there
is: another one brings every ratio nearer to 1.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.bounds import end, verdict
from steadygrad.measurement import measure

BATCH = 128
CLASSES = 10
# Depth, width, activation, bound, and how often a step is repeated for each one asked for.
CASES: tuple[tuple[int, int, type[nn.Module], float, int], ...] = (
    (8, 2048, nn.ReLU, 1.15, 1),
    (20, 256, nn.ReLU, 1.3, 10),
)


def mlp(depth: int, width: int, activation: type[nn.Module]) -> nn.Sequential:
    """`depth` layers of `width` units with an activation after each, and a head."""
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def sides(model: nn.Module, width: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A measured and a plain step. `measure` writes no `.grad`: its update takes gradients of the same sizes."""
    x_BD, y_B = torch.randn(BATCH, width), torch.randint(CLASSES, (BATCH,))
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=1e-6)

    def plain() -> None:
        optimizer.zero_grad()
        loss_fn(model(x_BD), y_B).backward()
        optimizer.step()

    def measured() -> None:
        measure(model, x_BD, y_B, loss_fn)
        optimizer.step()

    return measured, plain


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """The ratio of medians, that of minima and the median of `theirs` in ms, the order swapped at every repeat."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for i in range(repeats + 2):
        for which in (0, 1) if i % 2 else (1, 0):
            start = time.process_time()
            (ours, theirs)[which]()
            times[which].append(time.process_time() - start)
    a, b = times[0][2:], times[1][2:]
    return statistics.median(a) / statistics.median(b), min(a) / min(b), 1e3 * statistics.median(b)


def main() -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{'measured step / plain step':30} {'medians':>8} {'minima':>8} {'bound':>6} {'plain, ms':>10}")
    for depth, width, activation, bound, times in CASES:
        torch.manual_seed(0)
        measured, plain = sides(mlp(depth, width, activation), width)
        medians, minima, ms = interleaved(measured, plain, repeats * times)
        name = f"{depth} x {width} MLP, {activation.__name__}"
        print(
            f"{name:30} {medians:8.3f} {minima:8.3f} {bound:6.2f} {ms:10.2f}  {verdict(medians <= bound)}", flush=True
        )


if __name__ == "__main__":
    main()
    end()
