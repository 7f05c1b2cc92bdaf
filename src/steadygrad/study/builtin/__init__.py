"""The built-in studies: `steadygrad study NAME`.

A study is a module of this package with a function `study(bench: Bench) -> Conclusion`. It says its grids as `Spec`,
has `bench.run` train them, holds what comes against theory, writes its page into `bench.out`, and returns what it
found. One line in `STUDIES` registers it: its name on the command line, and the module's.
"""

from __future__ import annotations

import importlib

from steadygrad.errors import unknown_name
from steadygrad.study.bench import Study

STUDIES: dict[str, str] = {
    "foundations": "foundations",
    "phase-diagram": "phase_diagram",
    "trainable-depth": "trainable_depth",
    "born-dead": "born_dead",
    "critical-gain": "critical_gain",
    "dynamical-isometry": "dynamical_isometry",
}


def study(name: str) -> Study:
    """Return the study of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in STUDIES:
        raise ValueError(unknown_name("study", name, [*STUDIES, "SPEC.toml"]))
    found: Study = importlib.import_module(f"{__name__}.{STUDIES[name]}").study
    return found
