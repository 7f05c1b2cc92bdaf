"""Chunked linear cross-entropy against the naive form and torch's own chunked one: time, and peak memory above inputs.

N = 4096 examples, D = 512 features, V = 32768 classes, single precision, one thread, forward and backward. Memory is
the rise of the resident peak in a process of its own; times are of calls that take turns in one process, by the
clock on the wall, and beside it the processor's, which other work on the machine disturbs less.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.bounds import end, verdict
from steadygrad import numerics

N, D, V = 4096, 512, 32768
Z, CAP = 1e-4, 30.0


def ours(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
    return numerics.linear_cross_entropy(h, w, t)


def naive(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(h, w), t)


def chunked(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
    return functional.linear_cross_entropy(h, w, t, options=torch.nn.LinearCrossEntropyOptions())


def ours_both(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
    return numerics.linear_cross_entropy(h, w, t, z_loss=Z, soft_cap=CAP)


def naive_both(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
    logits = CAP * torch.tanh(functional.linear(h, w) / CAP)
    return functional.cross_entropy(logits, t) + Z * torch.logsumexp(logits, -1).square().mean()


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    f.__name__: f for f in (ours, naive, chunked, ours_both, naive_both)
}


def problem(n: int = N, d: int = D, v: int = V) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, d, generator=g)
    weight = (torch.randn(v, d, generator=g) / d**0.5).requires_grad_()
    return hidden.requires_grad_(), weight, torch.randint(v, (n,), generator=g)


def step(name: str, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Seconds of one forward and backward pass, of the clock and of the processor."""
    for leaf in inputs[:2]:
        leaf.grad = None
    clock, processor = time.perf_counter(), time.process_time()
    FORMS[name](*inputs).backward()
    return time.perf_counter() - clock, time.process_time() - processor


def resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def peak(name: str) -> None:
    """Print the rise of the resident peak, MiB, over a call; libraries are warm, the inputs are there."""
    torch.set_num_threads(1)
    step(name, problem(8, 4, 8))
    inputs = problem()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    step(name, inputs)
    print(resident("VmHWM") - before)


def measured_peak(name: str) -> float:
    command = [sys.executable, "-m", "benchmarks.numerics_linear_cross_entropy", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def line(name: str, a: float, b: float, bound: float | None, *, ratio: float | None = None) -> None:
    """A line of the table, by a / b where no other ratio is given; without a bound it is there to be read."""
    seen = a / b if ratio is None else ratio
    held = "     -" if bound is None else f"{bound:6.2f}  {verdict(seen <= bound)}"
    print(f"{name:44} {a:9.2f} {b:9.2f} {seen:7.3f} {held}")


def times(first: str, second: str, bound: float, repeats: int) -> None:
    inputs = problem()
    step(first, inputs)
    rounds = []
    for i in range(repeats):
        order = (first, second) if i % 2 else (second, first)
        taken = {name: step(name, inputs) for name in order}
        rounds.append((taken[first], taken[second]))
    for k, unit in enumerate(("wall", "cpu")):
        a, b = ([r[side][k] for r in rounds] for side in (0, 1))
        ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
        line(f"time {first} / {second}, {unit} s", statistics.median(a), statistics.median(b), bound, ratio=ratio)
        line("  minima", min(a), min(b), bound)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':44} {'ours':>9} {'peer':>9} {'ratio':>7} {'bound':>6}")
    peaks = {name: measured_peak(name) for name in FORMS}
    line("peak memory MiB, ours / naive", peaks["ours"], peaks["naive"], 0.1)
    line("peak memory MiB, ours / chunked", peaks["ours"], peaks["chunked"], None)
    line("peak memory MiB, ours_both / naive_both", peaks["ours_both"], peaks["naive_both"], 0.1)
    times("ours", "naive", 0.8, 5)
    times("ours", "chunked", 0.65, 5)
    times("ours_both", "naive_both", 0.9, 5)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(sys.argv[1])
    else:
        main()
        end()
