"""A measured training step against a plain one: forward, loss, backward and update, with and without full statistics.

Full statistics are those of `sg.measure`: of every call's output and of its gradient the mean, q, its standard error
over examples, the signal between examples and c, the norm of every parameter's gradient, dead and saturated units. Both
sides train the same model on the same batch of 128 examples, on one thread, by its processor time. Plain SGD is the
cheapest update there is: another one brings every ratio nearer to 1.

Each side has processes of its own, in turn, as a program trains that measures every step, or none: the ratio is that of
the medians of their medians. Below it stands the ratio where both sides take turns in one process, step by step. It is
larger, by a tenth where steps are short: a measurement lets glibc keep the memory that a step frees, which a plain step
in a program of its own gives back and faults in again; and a measured step that follows a plain one is slower than one
that follows its like. The bound stands for both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.bounds import end, verdict
from steadygrad.measurement import measure

BATCH = 128
CLASSES = 10
PROCESSES = 5  # of each side
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
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # a process that only measures has none to update by

    def plain() -> None:
        optimizer.zero_grad()
        loss_fn(model(x_BD), y_B).backward()
        optimizer.step()

    def measured() -> None:
        measure(model, x_BD, y_B, loss_fn)
        optimizer.step()

    return measured, plain


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> float:
    """The ratio of medians, the order swapped at every repeat."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for i in range(repeats + 2):
        for which in (0, 1) if i % 2 else (1, 0):
            times[which].append(taken((ours, theirs)[which]))
    return statistics.median(times[0][2:]) / statistics.median(times[1][2:])


def taken(step: Callable[[], object]) -> float:
    """Processor time of a step in ms."""
    start = time.process_time()
    step()
    return 1e3 * (time.process_time() - start)


def alone(case: int, side: int, repeats: int) -> float:
    """The median of one side's steps in this process, in ms."""
    depth, width, activation, _, times = CASES[case]
    torch.manual_seed(0)
    step = sides(mlp(depth, width, activation), width)[side]
    return statistics.median([taken(step) for _ in range(repeats * times + 2)][2:])


def in_turn(case: int, repeats: int) -> tuple[float, float]:
    """Both sides' medians over processes of their own, in ms."""
    found: tuple[list[float], list[float]] = [], []
    for round_ in range(PROCESSES):
        for side in (0, 1) if round_ % 2 else (1, 0):
            command = [sys.executable, "-m", "benchmarks.measure", *map(str, (repeats, case, side))]
            found[side].append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return statistics.median(found[0]), statistics.median(found[1])


def main() -> None:
    """Print the ratios; for a case and a side, what it takes alone."""
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if len(sys.argv) > 2:
        print(alone(int(sys.argv[2]), int(sys.argv[3]), repeats))
        return
    print(f"{'measured step / plain step':30} {'ratio':>6} {'bound':>6} {'plain, ms':>10}")
    for case, (depth, width, activation, bound, times) in enumerate(CASES):
        measured_ms, plain_ms = in_turn(case, repeats)
        ratio = measured_ms / plain_ms
        name = f"{depth} x {width} MLP, {activation.__name__}"
        print(f"{name:30} {ratio:6.3f} {bound:6.2f} {plain_ms:10.2f}  {verdict(ratio <= bound)}", flush=True)
        torch.manual_seed(0)
        ratio = interleaved(*sides(mlp(depth, width, activation), width), repeats * times)
        print(
            f"{'  taking turns in one process':30} {ratio:6.3f} {bound:6.2f} {'':10}  {verdict(ratio <= bound)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
    end()
