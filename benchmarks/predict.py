"""`predict` on a 1000-layer, 4096-wide MLP, forward and backward, against the same run without moments.

The floor constructs the same network and runs it forward and backward on the same fake tensors under an empty mode.
Each run is a process of its own: the first call's costs (imports aside) are in both. Medians of interleaved runs.
"""

import json
import os
import statistics
import subprocess
import sys

from benchmarks.bounds import end, verdict

DEPTH, WIDTH = 1000, 4096
BOUND, MEGABYTES = 2.0, 500
NETWORK = f"""
import json, resource, sys, time
import torch
from torch import nn
from steadygrad.prediction import predict
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

class Empty(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {{}}))

def network(depth={DEPTH}, width={WIDTH}):
    return nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())))

def floor(depth={DEPTH}):
    with FakeTensorMode(), Empty():
        out = network(depth)(torch.empty(8, {WIDTH}))
        out.backward(torch.empty_like(out))

def ours(depth={DEPTH}):
    predict(lambda: network(depth), (8, {WIDTH}))

run = {{"floor": floor, "ours": ours}}[sys.argv[1]]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
run(2)
first = time.process_time() - start
start = time.process_time()
run()
taken = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({{"seconds": taken, "first": first, "peak": peak / 1024, "above": (peak - base) / 1024}}))
"""


def measured(which: str) -> dict[str, float]:
    """Processor seconds of the run and of a first small one, peak memory in MB, and that above the imports."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # waiting threads cost time too
    command = [sys.executable, "-c", NETWORK, which]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=one_thread)
    return json.loads(done.stdout)


def main() -> None:
    pairs = [(measured("ours"), measured("floor")) for _ in range(3)]
    sides = zip(*pairs, strict=True)
    ours, floor = ({key: statistics.median(run[key] for run in side) for key in side[0]} for side in sides)
    ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
    print(f"{DEPTH} layers of {WIDTH}, {DEPTH * (WIDTH * WIDTH + WIDTH) / 1e9:.1f} billion parameters")
    print(f"  predict {ours['seconds']:.2f} s, empty mode {floor['seconds']:.2f} s, "
          f"ratio {ratio:.2f}{held(ratio, BOUND)}")  # fmt: skip
    print(f"  first call of all: predict {ours['first']:.2f} s, empty mode {floor['first']:.2f} s")
    print(f"  above the imports: predict {ours['above']:.0f} MB, empty mode {floor['above']:.0f} MB")
    print(f"  peak memory {ours['peak']:.0f} MB{held(ours['peak'], MEGABYTES)}")


def held(value: float, bound: float) -> str:
    """The bound, and whether it holds."""
    return f", bound {bound:g}: {verdict(value <= bound)}"


if __name__ == "__main__":
    main()
    end()
