"""Run every benchmark of this folder in turn: `python -m benchmarks`."""

import importlib
import pkgutil

import benchmarks
from benchmarks.bounds import end, verdict


def main() -> None:
    for module in sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__)):
        found = importlib.import_module(f"benchmarks.{module}") if not module.startswith("__") else None
        if hasattr(found, "main"):
            print(f"== {module}", flush=True)
            try:
                found.main()
            except SystemExit as ended:
                verdict(not ended.code)
            print(flush=True)


main()
end()
