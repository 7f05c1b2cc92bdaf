"""`predict` on a 1000-layer, 4096-wide MLP, forward and backward, against the same run without moments; and on a
100-layer, 1024-wide one against `unit_scaling.analyse_module`, which measures the scales that it prints.

The floor constructs the same network and runs it forward and backward on the same fake tensors under an empty mode.
Each run is a process of its own, and has run 2 layers before: what the first call costs is given apart. Medians of
interleaved runs. Memory is held to its bound above the imports, as torch alone takes most of the process; what the
imports and the whole process take at most stands beside it.
The peer needs the weights and a batch, here of 256 examples; making them is in its time, and stated without too.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys

from benchmarks.bounds import end, verdict

DEPTH, WIDTH = 1000, 4096
BOUND, MEGABYTES = 1.6, 300
PEER_DEPTH, PEER_WIDTH, PEER_BATCH, FASTER = 100, 1024, 256, 4.0
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

def smaller(depth={PEER_DEPTH}):
    predict(lambda: network(depth, {PEER_WIDTH}), ({PEER_BATCH}, {PEER_WIDTH}))

def peer(depth={PEER_DEPTH}):
    from unit_scaling.utils import analyse_module
    model, x = network(depth, {PEER_WIDTH}), torch.randn({PEER_BATCH}, {PEER_WIDTH})
    made.append(time.process_time())
    analyse_module(model, x.requires_grad_(), torch.randn({PEER_BATCH}, {PEER_WIDTH}))

made = []
run = {{"floor": floor, "ours": ours, "smaller": smaller, "peer": peer}}[sys.argv[1]]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
run(2)
first = time.process_time() - start
start = time.process_time()
run()
taken = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
built = start + taken - made[-1] if made else taken
times = {{"seconds": taken, "built": built, "first": first}}
print(json.dumps({{**times, "peak": peak / 1024, "above": (peak - base) / 1024, "imports": base / 1024}}))
"""


def measured(which: str) -> dict[str, float]:
    """Processor seconds of the run and of a first small one; in MB peak memory, the imports' and what is above them."""
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
    print(f"  memory above the imports: predict {ours['above']:.0f} MB{held(ours['above'], MEGABYTES)}; "
          f"empty mode {floor['above']:.0f} MB")  # fmt: skip
    print(f"  peak of the process: predict {ours['peak']:.0f} MB, empty mode {floor['peak']:.0f} MB, "
          f"of which {ours['imports']:.0f} MB are imports")  # fmt: skip
    against_the_peer()


def against_the_peer() -> None:
    """What users pay for the scales of all layers of a network of ordinary size."""
    if importlib.util.find_spec("unit_scaling") is None:
        print("  unit_scaling is not installed: the extra `bench` has it")
        return
    pairs = [(measured("smaller"), measured("peer")) for _ in range(3)]
    ratio, built = (statistics.median(b[key] / a["seconds"] for a, b in pairs) for key in ("seconds", "built"))
    ours, peer = (statistics.median(run["first"] for run in side) for side in zip(*pairs, strict=True))
    print(f"{PEER_DEPTH} layers of {PEER_WIDTH}, against unit_scaling.analyse_module on {PEER_BATCH} examples")
    print(f"  {ratio:.1f} times faster, bound {FASTER:g}: {verdict(ratio >= FASTER)}")
    print(f"  {built:.1f} times faster than the analysis alone, of weights that are there")
    print(f"  first call of all: predict {ours:.2f} s, analyse_module {peer:.2f} s")


def held(value: float, bound: float) -> str:
    """The bound, and whether it holds."""
    return f", bound {bound:g}: {verdict(value <= bound)}"


if __name__ == "__main__":
    main()
    end()
