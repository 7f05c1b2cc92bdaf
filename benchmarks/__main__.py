"""Run every benchmark of this folder in turn: `python -m benchmarks`."""

import importlib
import pkgutil

import benchmarks


def main() -> None:
    for module in sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__)):
        found = importlib.import_module(f"benchmarks.{module}") if not module.startswith("__") else None
        if hasattr(found, "main"):
            print(f"== {module}", flush=True)
            found.main()
            print(flush=True)


main()
