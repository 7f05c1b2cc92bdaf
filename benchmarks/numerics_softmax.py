"""Softmax and log-sum-exp against SciPy's and torch's own, on a (4096, 1024) array, one thread, interleaved."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import special

from benchmarks.bounds import end, verdict
from steadygrad import numerics

REPEATS = 41
Timed = Callable[[], object]


def interleaved(calls: Sequence[Timed], repeats: int = REPEATS) -> list[list[float]]:
    """CPU seconds of each call in each round; the calls take turns, and turn their order, so that noise is shared."""
    rounds = []
    for call in calls:
        call()
    for i in range(repeats):
        taken = [0.0] * len(calls)
        for k in range(len(calls)):
            j = (k + i) % len(calls)
            start = time.process_time()
            calls[j]()
            taken[j] = time.process_time() - start
        rounds.append(taken)
    return rounds


def row(name: str, ours: Timed, peer: Timed, bound: float) -> None:
    rounds = interleaved([ours, peer])
    medians = [statistics.median(r[i] for r in rounds) for i in (0, 1)]
    minima = [min(r[i] for r in rounds) for i in (0, 1)]
    ratio = statistics.median(r[0] / r[1] for r in rounds)
    print(
        f"{name:42} {medians[0] * 1e3:8.2f} {medians[1] * 1e3:8.2f} {ratio:7.3f}"
        f" {minima[0] / minima[1]:7.3f} {bound:6.2f}  {verdict(ratio <= bound)}"
    )


def gradient(fn: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Timed:
    leaf = x.clone().requires_grad_()
    weight = torch.ones_like(fn(leaf)).detach()
    return lambda: torch.autograd.grad(fn(leaf), leaf, weight)


def main() -> None:
    torch.set_num_threads(1)
    array = np.random.default_rng(0).standard_normal((4096, 1024))
    print(f"{'CPU ms, and ratio of rounds':42} {'ours':>8} {'peer':>8} {'median':>7} {'minima':>7} {'bound':>6}")
    row("numpy softmax / scipy", lambda: numerics.softmax(array), lambda: special.softmax(array, axis=-1), 0.7)
    row("numpy logsumexp / scipy", lambda: numerics.logsumexp(array), lambda: special.logsumexp(array, axis=-1), 0.5)
    for dtype in (torch.float64, torch.float32):
        x, short = torch.from_numpy(array).to(dtype), str(dtype).removeprefix("torch.")
        for ours, peer in (
            (numerics.softmax, lambda v: torch.softmax(v, -1)),
            (numerics.log_softmax, lambda v: torch.log_softmax(v, -1)),
            (numerics.logsumexp, lambda v: torch.logsumexp(v, -1)),
        ):
            name = f"torch {ours.__name__} {short}"
            row(f"{name} / torch", lambda f=ours, v=x: f(v), lambda f=peer, v=x: f(v), 1.05)
            row(f"{name} with gradient / torch", gradient(ours, x), gradient(peer, x), 1.05)


if __name__ == "__main__":
    main()
    end()
