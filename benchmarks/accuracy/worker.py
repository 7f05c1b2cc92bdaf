"""One case in a process of its own: a JSON line for each seed and variant.

python -m benchmarks.accuracy.worker TOOL CASE SEED...
"""

import json
import sys
import time
import warnings
from pathlib import Path

CASES = Path(__file__).parents[1] / "cases"


def cases() -> dict:
    """All cases: name -> (file, case)."""
    sys.path.insert(0, str(CASES))
    from score import load_cases

    return load_cases(CASES)


def main(tool: str, name: str, seeds: list[int]) -> None:
    """Print what the tool says."""
    warnings.simplefilter("ignore")
    import torch

    from benchmarks.accuracy.tools import TOOLS, quiet

    torch.set_num_threads(1)
    case = cases()[name][1]
    if tool.startswith("steadygrad"):
        import steadygrad

        steadygrad.check({"model": torch.nn.Linear(1, 1)})  # the first call imports, which is not the case's doing
    for seed in seeds:
        for faulty in [True, False] if case.expect else [False]:
            setup, start = case.build(seed, faulty), time.process_time()
            line = {"case": name, "seed": seed, "faulty": faulty}
            try:
                with quiet():
                    line["codes"] = TOOLS[tool](setup)
            except Exception as error:
                line["crash"] = f"{type(error).__name__}: {error}"[:200]
            line["seconds"] = time.process_time() - start
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3:]])
