"""Run by test_ray.py: a grid on two Ray nodes of this machine, one of which is killed in the middle.

It prints what came as one line of JSON.
"""

import json
import sys
import time

import ray
from ray.cluster_utils import Cluster

from steadygrad.study import Spec, run

SPEC = Spec.of(
    name="ray",
    fixed={"data": "gaussian", "depth": 4, "width": 32, "activation": "tanh", "steps": 400},
    product={"sigma_w": {"start": 1.0, "stop": 2.0, "count": 8}},
    seeds=6,
)


def main(out):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    killed = []

    def kill_once(done, total):
        if done and not killed:
            killed.append(done)
            # The raylet and its workers get SIGKILL: nothing is said, nothing is handed over.
            cluster.remove_node(doomed, allow_graceful=False)

    results = run(SPEC, out=out, ray=cluster.address, progress=kill_once)
    nodes, until = 2, time.monotonic() + 60
    while nodes > 1 and time.monotonic() < until:  # the cluster takes its time to believe it
        nodes = sum(node["Alive"] for node in ray.nodes())
        time.sleep(0.1)
    ray.shutdown()
    cluster.shutdown()
    loss = {row["id"]: row["test_loss"] for row in results.rows()}
    print(json.dumps({"killed_at": killed[0], "alive": nodes, "loss": loss}))


if __name__ == "__main__":
    main(sys.argv[1])
