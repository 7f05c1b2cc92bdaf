"""`steadygrad explain` against the start of a Python that imports what it is built on."""

from benchmarks.bounds import end
from benchmarks.processes import compare, show

FLOOR = "import numpy, scipy.special, typer, rich"
COMMAND = "-m steadygrad explain --depth 50 --width 512 --activation tanh --init xavier-uniform"
BOUND = 1.4


def main() -> None:
    """Print the ratio."""
    ours, floor = compare(COMMAND.split(), ["-c", FLOOR], repeats=11)
    show(f"explain, against `{FLOOR}`", ours, floor, BOUND)


if __name__ == "__main__":
    main()
    end()
