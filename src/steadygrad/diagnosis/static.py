"""check_static: what a prediction alone says of a setup: no weight is allocated, no batch is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from steadygrad.errors import not_allowed
from steadygrad.measurement import Call, Observation
from steadygrad.prediction.operators.positions import as_signal
from steadygrad.prediction.rows import Row
from steadygrad.prediction.run import Interpretation
from steadygrad.prediction.setups import interpret_setup
from steadygrad.prediction.values import Value
from steadygrad.setup import Setup

from .check import listed, reported
from .configuration import Configuration
from .evidence import Collector, Leap, Measured, NonfiniteOrigin
from .report import Report
from .rules import RULES
from .selection import selected

STATIC = ("FWD003", "FWD001", "FWD002", "BWD001", "BWD002")
"""Rules whose evidence is a profile alone: the predicted one stands in the measured one's place."""


def check_static(
    make: Callable[[], object],
    *,
    inputs: Sequence[int] | None = None,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    configuration: Configuration | None = None,
) -> Report:
    """Say from theory alone what becomes of signal and gradient, of a model of any size.

    Args:
        make: a function without arguments that returns a module, a `Setup`, or a mapping with `model`, which may be a
            factory. It runs on fake tensors: nothing it makes takes memory.
        inputs: the shape of a batch of standard normal entries, where there are no data.
        select: codes of rules, or prefixes of them; all that can look at a prediction where it is empty.
        ignore: codes or prefixes to leave out.
        configuration: what a project settles for all its checks, as for `check`.

    Raises:
        SetupError: the setup cannot be used, or there are neither data nor `inputs`.
        UserCodeError: the user's own code raised.
        ValueError: a code that no rule has, or none that is selected can look at a prediction.

    >>> from torch import nn
    >>> wide = lambda: nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(32768, 32768), nn.ReLU())))
    >>> [finding.code for finding in check_static(wide, inputs=(8, 32768)).findings]     # 86 GB of weights
    ['FWD003']
    """
    settled = configuration or Configuration()
    chosen = selected(RULES, listed(select) or settled.select, (*settled.ignore, *listed(ignore)))
    codes = tuple(code for code in chosen if code in STATIC)
    if not codes:
        raise ValueError(not_allowed("select", f"must leave one of {', '.join(STATIC)} for a static check", chosen))
    setup, found = interpret_setup(make, inputs=inputs)
    evidence = {
        Measured: Measured(observation=_observation(found)),
        NonfiniteOrigin: NonfiniteOrigin(forward=None, backward=None, traced=False),
        Leap: Leap(),
    }
    collector = Collector(Setup(model=setup.model), _found=evidence)  # no data: nothing else can be collected
    findings = [finding for code in codes for finding in RULES[code](*map(collector.get, RULES[code].needs))]
    return reported(findings, collector, settled, codes, looked=codes, predicted=found.profile, measured=None)


def _observation(found: Interpretation) -> Observation:
    """The prediction in the form of a measurement."""
    q, signal = _size(found, found.entered)
    return Observation(
        profile=found.profile,
        calls=tuple(_call(found, row) for row in found.rows),
        first_nonfinite=None,
        input_q=q,
        input_signal=signal,
    )


def _call(found: Interpretation, row: Row) -> Call:
    entries = math.prod(row.shape) // found.profile.batch_size if row.shape else 0
    q, signal = _size(found, row.entering)
    return Call(module=row.module, entries=entries, sources=row.sources, entering_q=q, entering_signal=signal, units=0)


def _size(found: Interpretation, value: Value | None) -> tuple[float, float]:
    """Second moment and signal of what goes into a module."""
    known = None if value is None else as_signal(found.run, value)
    if known is None:
        return math.nan, math.nan
    return float(known.moments.q.mean()), found.run.batch.distinct_mean(known.moments.d)
