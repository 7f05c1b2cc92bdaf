"""Ask every tool about every case, with what was answered before taken from the results; write docs/accuracy.md.

python -m benchmarks.accuracy [--seeds 5] [--jobs 2] [--timeout 60] [--only CASE,CASE] [--tools NAME,NAME]
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accuracy.table import page
from benchmarks.accuracy.tools import TOOLS
from benchmarks.accuracy.worker import cases

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "accuracy"


def results(tool: str, name: str, seeds: int, timeout: float) -> list[dict]:
    """The lines of a case; those on disk are not asked for again."""
    file = RESULTS / tool.replace(" ", "") / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if missing := sorted(set(range(seeds)) - {line["seed"] for line in known}):
        known += (fresh := _asked(tool, name, missing, timeout))
        with file.open("a") as out:
            out.writelines(json.dumps(line) + "\n" for line in fresh)
    return [line for line in known if line["seed"] < seeds]


def _asked(tool: str, name: str, seeds: list[int], timeout: float) -> list[dict]:
    """Ask in a process of its own; what it did not come to say is a crash."""
    command = [sys.executable, "-m", "benchmarks.accuracy.worker", tool, name, *map(str, seeds)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    wanted = [(seed, faulty) for seed in seeds for faulty in ([True, False] if CASES[name].expect else [False])]
    limit = len(wanted) * timeout + 60
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, cwd=ROOT, env=environment, check=False
        )
        printed, trouble = done.stdout, done.stderr.strip().splitlines()[-1:]
    except subprocess.TimeoutExpired as late:
        printed, trouble = (late.stdout or b"").decode(), [f"took more than {limit:g} s"]
    lines = list(_said(printed))
    missing = {"case": name, "crash": " ".join(trouble), "seconds": float(timeout)}
    return [*lines, *({**missing, "seed": seed, "faulty": faulty} for seed, faulty in wanted[len(lines) :])]


def _said(printed: str) -> Iterator[dict]:
    """The worker's whole lines; what a tool prints between them, past Python, or a line that was cut is none."""
    for line in printed.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if isinstance(said := json.loads(line), dict):
                yield said


CASES = {name: case for name, (_, case) in cases().items()}


def main() -> None:
    """Parse, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(CASES)
    by_tool: dict[str, list[dict]] = {}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for tool in options.tools.split(","):
            asked = [pool.submit(results, tool, name, options.seeds, options.timeout) for name in wanted]
            by_tool[tool] = [line for one in asked for line in one.result()]
            print(f"{tool}: {len(by_tool[tool])} runs", flush=True)
    written = page(by_tool, {name: CASES[name] for name in wanted}, options.seeds)
    options.out.write_text(written)
    print(written)


if __name__ == "__main__":
    main()
