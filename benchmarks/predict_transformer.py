"""`predict` on a transformer of 70 billion parameters, of torch.nn parts: seconds and memory, forward and backward.

80 pre-norm blocks of width 8192, 64 heads, a feed-forward width of 4.5 times that, on 2 examples of 2048 positions.
"""

import json
import os
import subprocess
import sys

from benchmarks.bounds import end, verdict

SECONDS, MEGABYTES = 10.0, 1000
RUN = """
import json, resource, time
from torch import nn
from steadygrad.prediction import predict

def transformer(blocks=80, width=8192, heads=64, wide=36864):
    block = lambda: nn.TransformerEncoderLayer(width, heads, wide, batch_first=True, norm_first=True)
    return nn.Sequential(*(block() for _ in range(blocks)))

predict(lambda: transformer(1, 64, 2, 64), (2, 16, 64))
start = time.process_time()
profile = predict(transformer, (2, 2048, 8192))
taken = time.process_time() - start
known = all(layer.q > 0 and layer.grad_q > 0 for layer in profile)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": taken, "peak": peak, "rows": len(profile.layers), "known": known}))
"""


def main() -> None:
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True, env=one_thread)
    run = json.loads(done.stdout)
    print(f"80 blocks of 8192, 70 billion parameters: {run['rows']} rows, all known: {verdict(run['known'])}")
    for key, unit, bound in (("seconds", "s", SECONDS), ("peak", "MB", MEGABYTES)):
        print(f"  {key} {run[key]:.1f} {unit}, bound {bound:g}: {verdict(run[key] <= bound)}")


if __name__ == "__main__":
    main()
    end()
