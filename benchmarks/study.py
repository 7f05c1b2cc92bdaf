"""The population trainer against a loop of torch, and what scheduling, processes and Ray cost.

`python -m benchmarks.study [PART ...]` runs each part, or all, in a process of its own: one thread, in the environment
of a worker, with the kernels that each library chooses for the processor by itself. What `_CHOSEN_BY_HAND` names is
left out: held to kernels for AVX2, NumPy's BLAS has half its speed on a processor with AVX-512. (`--here PART` runs a
part in the environment as it is.)

Loop, population and the best large product are interleaved, so that all meet the same machine: each round takes the
shortest time of each, since what else runs there only ever adds some, and a ratio is the median over rounds, since the
processor's clock changes. Processes side by side and the grid are measured in processor time, which other programs on
the machine do not change much; wall-clock time stands beside.

Below each ratio stands a floor: what the matrix products of a step take alone, with nothing between them, each in the
layout and by the library that is fastest for it. No trainer that multiplies by these libraries gets below it, so the
loop's time over it is the ratio that there can be at most. What share of the best product's speed trainer and loop
reach is printed too.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bounds import end, verdict

if TYPE_CHECKING:
    from steadygrad.study import Point

DEPTH, BATCH = 10, 64
# Width -> networks x steps a second against the loop; share of the speed of torch's best matrix product.
RATIOS = {16: 18.0, 64: 3.3, 256: 1.3}
SHARES = {64: 0.50, 256: 0.70}
PROCESSES, TWO_CORES = 2, 1.85
GRID, GRID_SECONDS = 100_000, 5.0
RAY_OVERHEAD, RAY_TASKS, RAY_TASK_SECONDS = 0.05, 8, 2.0
ROUNDS, SECONDS, SIDE_SECONDS = 12, 0.25, 1.0
# Variables that hold a library to kernels, or sizes of caches, that are not those which it finds by itself.
_CHOSEN_BY_HAND = {
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
}


def point(width: int) -> Point:
    from steadygrad.study import Point

    return Point(
        data="gaussian",
        depth=DEPTH,
        width=width,
        activation="relu",
        initializer="he-normal",
        batch_size=BATCH,
        steps=10**6,
        curve=0,
    )


def population_step(width: int) -> tuple[Callable[[], object], int]:
    """What lets as many networks as the trainer chooses take a step, and how many they are."""
    import torch

    from steadygrad.study.budget import networks_at_once
    from steadygrad.study.population.lockstep import Population

    one = point(width)
    count = networks_at_once(one)
    population = Population([replace(one, seed=seed) for seed in range(count)], device=torch.device("cpu"))
    return population.step, count


def loop_step(width: int) -> Callable[[], None]:
    """What lets one network take a step as everyone writes it."""
    import torch
    from torch import nn

    from steadygrad.study import network
    from steadygrad.study.data import load

    one = point(width)
    model, loss_fn, data = network(one), nn.CrossEntropyLoss(), load(one.data)
    inputs, classes = data.inputs.float(), data.targets.argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=one.learning_rate)
    batches = itertools.cycle(torch.randperm(len(inputs)).split(BATCH))

    def step() -> None:
        index = next(batches)
        optimizer.zero_grad()
        loss_fn(model(inputs[index]), classes[index]).backward()
        optimizer.step()

    return step


def best_seconds(step: Callable[[], object], seconds: float) -> float:
    """The shortest time of a step among those that fit."""
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - start)
    return best


def large_products() -> dict[str, tuple[Callable[[], object], int]]:
    """Each library's best large product, and the floating-point operations that it takes."""
    import numpy as np
    import torch

    found = {}
    for name in ("torch", "NumPy"):
        made = []
        for n in (256, 512, 1024):
            a, out = torch.randn(n, n), torch.empty(n, n)
            b, into = a.numpy(), out.numpy()
            by = {"torch": partial(torch.mm, a, a, out=out), "NumPy": partial(np.matmul, b, b, out=into)}
            flops = 2 * n**3
            made.append((flops / best_seconds(by[name], 1.0), by[name], flops))
        found[name] = max(made, key=lambda each: each[0])[1:]
    return found


def products_alone(layers: Sequence[tuple[int, int]], count: int) -> float:
    """Seconds that the products of a step take, forward and backward, for each of so many networks."""
    total = 0.0
    for (fan_in, fan_out), times in Counter(layers).items():
        total += times * best_product(fan_out, fan_in, BATCH, count)  # forward
        total += times * best_product(fan_out, BATCH, fan_in, count)  # the gradient of the weight
        total += (times - ((fan_in, fan_out) == layers[0])) * best_product(fan_in, fan_out, BATCH, count)  # and below
    return total / count


def best_product(n: int, k: int, m: int, count: int) -> float:
    """The shortest time of so many products [n, k] [k, m], of both libraries and of every way that the two can lie."""
    import numpy as np
    import torch

    out, best = torch.empty(count, n, m), float("inf")
    lefts = torch.randn(count, n, k), torch.randn(count, k, n).mT
    rights = torch.randn(count, k, m), torch.randn(count, m, k).mT
    for a, b in itertools.product(lefts, rights):
        for multiply in (
            partial(np.matmul, a.numpy(), b.numpy(), out=out.numpy()),
            partial(torch.bmm, a, b, out=out),
        ):
            best = min(best, best_seconds(multiply, SECONDS / 10))
    return best


def kernels() -> str:
    """Which processor's kernels NumPy's BLAS uses, where it says so."""
    from threadpoolctl import threadpool_info

    names = {library["architecture"] for library in threadpool_info() if "architecture" in library}
    return f" by its kernels for {' and '.join(sorted(names))}" if names else ""


def lockstep() -> None:
    import torch

    from steadygrad.study.budget import sizes

    torch.set_num_threads(1)
    peaks = large_products()
    for width, bound in RATIOS.items():
        (together, count), alone = population_step(width), loop_step(width)
        sides = {"ours": (together, count * step_flops(width)), "loop": (alone, step_flops(width)), **peaks}
        # A processor's clock changes: all sides take part in every round.
        rounds = [
            {name: flops / best_seconds(side, SECONDS) for name, (side, flops) in sides.items()} for _ in range(ROUNDS)
        ]
        ratio = median_of(rounds, "ours", "loop")
        ours = step_flops(width) / statistics.median(each["ours"] for each in rounds)
        theirs = step_flops(width) / statistics.median(each["loop"] for each in rounds)
        floor = products_alone(sizes(point(width)), count)
        print(f"width {width}, {count} at once: {ours * 1e6:.1f} us a network and step, "
              f"loop {theirs * 1e6:.0f} us, ratio {ratio:.2f}, bound {bound:g}: {verdict(ratio >= bound)}")  # fmt: skip
        print(f"  the products alone {floor * 1e6:.1f} us, so at most a ratio of {theirs / floor:.2f}", flush=True)
        if width in SHARES:
            share = median_of(rounds, "ours", "torch")
            held = f", bound {SHARES[width]:.2f}: {verdict(share >= SHARES[width])}"
            peak = statistics.median(each["torch"] for each in rounds) / 1e9
            print(f"  {share:.2f} of torch's best product, {peak:.0f} GFLOP/s{held}; "
                  f"{median_of(rounds, 'ours', 'NumPy'):.2f} of NumPy's{kernels()}; "
                  f"the loop {median_of(rounds, 'loop', 'torch'):.2f} of torch's", flush=True)  # fmt: skip


def step_flops(width: int) -> int:
    """Floating-point operations of a step of one network."""
    from steadygrad.study.budget import sizes

    return 6 * BATCH * sum(fan_in * fan_out for fan_in, fan_out in sizes(point(width)))


def median_of(rounds: Sequence[dict[str, float]], ours: str, theirs: str) -> float:
    """The median over rounds of the ratio of two sides' speeds in a round."""
    return statistics.median(each[ours] / each[theirs] for each in rounds)


def throughput() -> None:
    """For each line that comes in, print the steps of width-64 networks a second of the processor, and of the clock."""
    import torch

    torch.set_num_threads(1)
    step, count = population_step(64)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        steps, start, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < start + SIDE_SECONDS:
            step()
            steps += count
        print(steps / (time.process_time() - used), steps / (time.perf_counter() - start), flush=True)


def processes() -> None:
    """One of them alone and all of them in turn, so that both meet the same machine."""
    running = [subprocess.Popen([sys.executable, "-m", "benchmarks.study", HERE, "throughput"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]  # fmt: skip
    for process in running:
        process.stdout.readline()
    rounds = [(side_by_side(running[:1]), side_by_side(running)) for _ in range(ROUNDS)]
    for process in running:
        process.communicate()
    for clock, name in enumerate(("processor", "wall")):
        pairs = [tuple(sum(rates[clock] for rates in side) for side in pair) for pair in rounds]
        alone, together = (statistics.median(side) for side in zip(*pairs, strict=True))
        held = f", bound {TWO_CORES}: {verdict(together / alone >= TWO_CORES)}" if clock == 0 else ""
        print(f"{PROCESSES} processes, {name} time: {together:.0f} networks x steps a second, one {alone:.0f}, "
              f"ratio {together / alone:.2f}{held}", flush=True)  # fmt: skip


def side_by_side(running: Sequence[subprocess.Popen[str]]) -> list[list[float]]:
    """The rates of these processes while they run at the same time."""
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [[float(rate) for rate in process.stdout.readline().split()] for process in running]


def grid() -> None:
    from steadygrad.study import Outcome, Spec, run
    from steadygrad.study.folder import Folder

    spec = Spec.of(
        name="grid",
        fixed={"data": "gaussian", "width": 64, "activation": "tanh"},
        product={"depth": range(1, 101), "sigma_w": {"start": 1.0, "stop": 2.0, "count": 100}},
        seeds=GRID // 10_000,
    )
    with tempfile.TemporaryDirectory() as place:
        points = list(spec.points())
        folder = Folder(Path(place) / "s", spec, points)
        for start in range(0, len(points), 500):
            folder.add([Outcome(point=point) for point in points[start : start + 500]])
            folder.flush()
        start, used = time.perf_counter(), time.process_time()
        results = run(spec, out=Path(place) / "s")
        seconds, wall = time.process_time() - used, time.perf_counter() - start
    assert len(results) == GRID
    print(f"{GRID:,} points expanded and resumed: {seconds:.1f} s of the processor, {wall:.1f} s, "
          f"bound {GRID_SECONDS}: {verdict(seconds <= GRID_SECONDS)}")  # fmt: skip


def ray_overhead() -> None:
    import ray

    from steadygrad.study.population.lockstep import train
    from steadygrad.study.runners.on_ray import OnRay

    def seconds(steps: int) -> float:
        task = [replace(point(32), steps=steps, seed=seed) for seed in range(8)]
        return min(sum(outcome.seconds for outcome in train(task)) for _ in range(3))

    few, many = 50, 1000
    before = seconds(few)
    a_step = (seconds(many) - before) / (many - few)
    one = replace(point(32), steps=few + int((RAY_TASK_SECONDS - before) / a_step))
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    runner = OnRay("local")
    list(runner([[replace(one, steps=1)]]))  # the worker process, and its imports
    populations = [[replace(one, seed=8 * t + s) for s in range(8)] for t in range(RAY_TASKS)]
    start = time.perf_counter()
    busy = sum(outcome.seconds for outcomes in runner(populations) for outcome in outcomes)
    wall = time.perf_counter() - start
    ray.shutdown()
    print(f"Ray, {RAY_TASKS} tasks of {busy / RAY_TASKS:.1f} s on one processor: {wall:.1f} s, overhead "
          f"{wall / busy - 1:.3f}, bound {RAY_OVERHEAD}: {verdict(wall / busy - 1 <= RAY_OVERHEAD)}")  # fmt: skip


PARTS = {part.__name__: part for part in (lockstep, processes, grid, ray_overhead)}
# What follows this word is run in this very process, as it is.
HERE = "--here"


def main(*parts: str) -> None:
    """Run these parts, or all that can run, each in a process of its own, with the environment of a worker."""
    from steadygrad.study.runners.environment import worker_environment

    runnable = [part for part in PARTS if part != "ray_overhead" or importlib.util.find_spec("ray")]
    for part in parts or runnable:
        with worker_environment():
            environment = {name: value for name, value in os.environ.items() if name not in _CHOSEN_BY_HAND}
            done = subprocess.run([sys.executable, "-m", "benchmarks.study", HERE, part], check=False, env=environment)
        verdict(not done.returncode)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [first, name] if first == HERE:
            (PARTS | {"throughput": throughput})[name]()
        case names if set(names) <= set(PARTS):
            main(*names)
        case names:
            sys.exit(f"the parts are {', '.join(PARTS)}, got {' '.join(names)}.")
    end()
