"""Whole processes against each other: interleaved, so that both meet the same machine; medians of repeats.

Processor time (user and system) decides, and it is one thread's: other programs on the machine do not change it much.
Wall-clock time stands beside it.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.bounds import verdict

# As an installed package has its bytecode, the first run, which does not count, may write what is missing.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Cost(NamedTuple):
    """What a process took, in seconds."""

    processor: float
    wall: float


def cost(arguments: Sequence[str], allowed: Sequence[int] = (0,)) -> Cost:
    """Run this Python once with these arguments, and return what it took."""
    before, start = _processor(), time.perf_counter()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    taken = Cost(_processor() - before, time.perf_counter() - start)
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return taken


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(ours: Sequence[str], floor: Sequence[str], *, repeats: int, allowed: Sequence[int] = (0,)) -> list[Cost]:
    """Return the medians of ours and of the floor, after one run of each that is not counted."""
    runs = [(cost(ours, allowed), cost(floor)) for _ in range(repeats + 1)][1:]
    return [Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*runs, strict=True)]


def show(name: str, ours: Cost, floor: Cost, bound: float) -> None:
    """Print both costs, their ratio, and whether the bound holds."""
    ratio = ours.processor / floor.processor
    print(name)
    print(f"  processor {ours.processor:.3f} s, floor {floor.processor:.3f} s, ratio {ratio:.2f}", end="")
    print(f", bound {bound:.2f}: {verdict(ratio <= bound)}")
    print(f"  wall      {ours.wall:.3f} s, floor {floor.wall:.3f} s, ratio {ours.wall / floor.wall:.2f}", flush=True)
