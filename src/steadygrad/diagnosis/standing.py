"""What stands with inputs in scale, so that their scale does not explain it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from steadygrad.errors import SteadygradError
from steadygrad.finding import Finding, Rule

from .evidence import Collector, InputScale, Sampled, Unavailable

_SCALE = "DAT001"

# What one pass shows: a trial is too dear to be made again.
_OF_A_PASS = ("FWD", "BWD", "LOS004")


def with_standing(findings: Iterable[Finding], rules: Mapping[str, Rule], collector: Collector) -> dict[str, Rule]:
    """Return the rules, the inputs' scale no cause of what the same rule finds with inputs that are standardised.

    A deep network may lose its signal whatever it is given. One more pass tells, on the same batches; where it cannot
    be made, the scale explains what follows it.

    Args:
        findings: all there are.
        rules: by code.
        collector: of the setup as it is.
    """
    found = {f.code: f.level.rank for f in findings}
    suspects = [code for code in found if code.startswith(_OF_A_PASS) and _SCALE in rules[code].explained_by]
    if _SCALE not in found or not suspects:
        return dict(rules)
    try:
        mended = _mended(collector)
    except SteadygradError:
        return dict(rules)
    stands = [c for c in suspects if any(f.level.rank <= found[c] for f in _looked(rules[c], mended))]
    gone = {_SCALE, *suspects} - set(stands)  # and what goes with the scale does not explain it either
    return {code: _without(rule, gone) if code in stands else rule for code, rule in rules.items()}


def _mended(collector: Collector) -> Collector:
    change = collector.get(InputScale).standardised(collector.get(Sampled))
    data: Any = [(change(b.inputs), b.targets) for b in collector.get(Sampled).batches]
    setup = replace(collector.setup, data=data)
    mended = Collector(setup, no_trial=", for one pass", seconds=collector.seconds, pace=collector.pace)
    mended.budget = collector.budget
    return mended


def _looked(rule: Rule, collector: Collector) -> list[Finding]:
    try:
        return rule(*(collector.get(kind) for kind in rule.needs))
    except Unavailable:
        return []


def _without(rule: Rule, causes: set[str]) -> Rule:
    return replace(rule, explained_by=tuple(code for code in rule.explained_by if code not in causes))
