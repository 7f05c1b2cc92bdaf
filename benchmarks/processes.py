"""Whole processes against each other: interleaved, so that both meet the same machine; medians of repeats."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence


def seconds(arguments: Sequence[str], allowed: Sequence[int] = (0,)) -> float:
    """Wall-clock time of one run of this Python with these arguments."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return taken


def compare(ours: Sequence[str], floor: Sequence[str], *, repeats: int, allowed: Sequence[int] = (0,)) -> list[float]:
    """The medians of ours and of the floor, after one run of each that is not counted."""
    times = [(seconds(ours, allowed), seconds(floor)) for _ in range(repeats + 1)][1:]
    return [statistics.median(side) for side in zip(*times, strict=True)]


def show(name: str, ours: float, floor: float, bound: float) -> None:
    """A line: both times, their ratio, and whether the bound holds."""
    ratio = ours / floor
    verdict = "holds" if ratio <= bound else "DOES NOT HOLD"
    print(f"{name}: {ours:.3f} s, floor {floor:.3f} s, ratio {ratio:.2f}, bound {bound:.2f}: {verdict}")
