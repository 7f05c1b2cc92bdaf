"""Grids of networks: thousands trained at once, stored as they end; and the built-in studies.

Names load on first use: a worker process imports what it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steadygrad.lazy_names import lazy_names

if TYPE_CHECKING:
    from .bench import Bench as Bench
    from .bench import Conclusion as Conclusion
    from .budget import TooLargeError as TooLargeError
    from .builtin import STUDIES as STUDIES
    from .data import DATASETS as DATASETS
    from .data import Data as Data
    from .data import split as split
    from .outcome import Outcome as Outcome
    from .outcome import Signals as Signals
    from .point import Point as Point
    from .population.lockstep import train as train
    from .results import Results as Results
    from .run import run as run
    from .runners.tasks import WorkerLostError as WorkerLostError
    from .spec import Spec as Spec
    from .spec_error import SpecError as SpecError
    from .torch_module import network as network

__all__ = lazy_names(
    __name__,
    {
        "bench": ("Bench", "Conclusion"),
        "budget": ("TooLargeError",),
        "builtin": ("STUDIES",),
        "data": ("DATASETS", "Data", "split"),
        "outcome": ("Outcome", "Signals"),
        "point": ("Point",),
        "population.lockstep": ("train",),
        "results": ("Results",),
        "run": ("run",),
        "runners.tasks": ("WorkerLostError",),
        "spec": ("Spec",),
        "spec_error": ("SpecError",),
        "torch_module": ("network",),
    },
)
