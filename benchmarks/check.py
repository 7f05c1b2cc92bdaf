"""`steadygrad check` on the example against a script that does once what a check cannot do without."""

from pathlib import Path

from benchmarks.bounds import end
from benchmarks.processes import compare, show

EXAMPLES = Path(__file__).parents[1] / "examples"
BOUND = 1.5
FLOOR = f"""
import sys
import numpy, scipy.special, typer, rich, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

class Empty(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {{}}))

sys.path.insert(0, {str(EXAMPLES)!r})
import deep_mlp

made = deep_mlp.setup()
inputs, classes = next(iter(made["data"]))
with FakeTensorMode(), Empty():
    model = deep_mlp.mlp()
    x, y = torch.empty(inputs.shape), torch.empty(classes.shape, dtype=classes.dtype)
    made["loss_fn"](model(x), y).backward()
made["loss_fn"](made["model"](inputs), classes).backward()
made["optimizer"].step()
"""


def main() -> None:
    """Print the ratio."""
    command = ["-m", "steadygrad", "check", str(EXAMPLES / "deep_mlp.py")]
    ours, floor = compare(command, ["-c", FLOOR], repeats=3, allowed=(1,))
    show("check, against building, one abstract and one real forward and backward, one step", ours, floor, BOUND)


if __name__ == "__main__":
    main()
    end()
