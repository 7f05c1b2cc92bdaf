"""The results of a grid as a table of text: what varies, and the means over seeds with their standard errors."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from .results import Results
from .spec import Spec

# Rows that a screen holds; the records have them all.
_MOST_ROWS = 50
_MEASURES = ("train_loss", "test_loss", "test_accuracy")


def summarize(spec: Spec, results: Results) -> str:
    """Return a row for each combination of what varies, over the seeds.

    >>> from steadygrad.study.run import run
    >>> fixed = {"width": 8, "activation": "relu", "steps": 5}
    >>> spec = Spec.of(name="s", fixed=fixed, product={"depth": [1, 2]}, seeds=2)
    >>> print(summarize(spec, run(spec)))  # doctest: +ELLIPSIS
    s: 4 networks, 0 of them diverged.
    ...
    """
    varying = [key for axis in spec.axes() for key in axis[0] if key != "seed"]
    diverged = len(results) - pc.sum(results.table["diverged_at"].is_null()).as_py()
    table = Table(box=None, pad_edge=False)
    for name in (*varying, *_MEASURES, "diverged"):
        table.add_column(name, justify="right")
    groups = list(results.by(*varying))
    for key, group in groups[:_MOST_ROWS]:
        lost = len(group) - pc.sum(group.table["diverged_at"].is_null()).as_py()
        measures = [_mean(group.column(name).astype(float)) for name in _MEASURES]
        table.add_row(*(_value(value) for value in key), *measures, f"{lost} of {len(group)}")
    console = Console(width=100_000, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(table)
    networks = "1 network" if len(results) == 1 else f"{len(results)} networks"
    lines = [f"{spec.name}: {networks}, {diverged} of them diverged."]
    lines += [line.rstrip() for line in captured.get().splitlines()]
    if len(groups) > _MOST_ROWS:
        lines.append(f"... and {len(groups) - _MOST_ROWS} rows more; the records hold all.")
    return "\n".join(lines)


def _mean(values: np.ndarray) -> str:
    """The mean, and its standard error to one digit."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "?"
    if len(finite) == 1:
        return f"{finite[0]:.3g}"
    error = finite.std(ddof=1) / math.sqrt(len(finite))
    return f"{finite.mean():.3g} ± {error:.1g}"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
