"""check: collect the evidence that the rules need, let them look, rank what they find."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from steadygrad.finding import Finding, Rule
from steadygrad.measurement.untouched import untouched
from steadygrad.setup import Setup

from .configuration import Configuration
from .data_position import data_position_kept
from .definitions import located
from .evidence import Collector, Measured, Predicted, Unavailable
from .ranking import ranked
from .report import Report
from .rules import RULES
from .selection import selected
from .suppression import allowances, suppressed


def check(
    setup: Setup | Mapping[str, Any] | nn.Module,
    *,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    configuration: Configuration | None = None,
) -> Report:
    """Look at a training setup before it is trained, and say what is wrong, the cause first.

    Everything is left as it was: parameters, buffers, `.grad`s, modes, and the states of random number generators, the
    data's own included.

    Args:
        setup: a `Setup`, or a mapping with `model`, `data`, `loss_fn`, `optimizer`.
        select: codes of rules, or prefixes of them; all where it is empty.
        ignore: codes or prefixes to leave out.
        configuration: what a project settles for all its checks; `select` takes the place of its own, `ignore` adds
            to it. Nothing is read from a file here: `Configuration.nearest` does that.

    Raises:
        SetupError: the setup cannot be used.
        UserCodeError: the user's own code raised.
        ValueError: a code that no rule has.

    >>> import torch
    >>> data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}).findings
    ()
    """
    settled = configuration or Configuration()
    codes = selected(RULES, _listed(select) or settled.select, (*settled.ignore, *_listed(ignore)))
    rules = {code: RULES[code] for code in codes}
    collector = Collector(Setup.of(setup))
    with untouched(*_modules(collector.setup)), data_position_kept(collector.setup.data):
        findings = [finding for rule in rules.values() for finding in _look(rule, collector)]
        measured = collector.peek(Measured)
        predicted = _predicted(collector) if measured else None
    model = collector.setup.model
    kept, unused = suppressed(findings, (*allowances(model), *settled.suppressions), codes)
    for words in unused:
        collector.note(words)
    levelled = [replace(finding, level=settled.level_of(finding.code, finding.level)) for finding in kept]
    return Report(
        findings=tuple(located(finding, model) for finding in ranked(levelled, RULES)),
        predicted=predicted.profile if predicted else None,
        measured=measured.observation.profile if measured else None,
        checked=tuple(rules),
        notes=tuple(collector.notes),
    )


def _listed(codes: Collection[str]) -> tuple[str, ...]:
    return (codes,) if isinstance(codes, str) else tuple(codes)


def _modules(setup: Setup) -> list[nn.Module]:
    return [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]


def _look(rule: Rule, collector: Collector) -> list[Finding]:
    """What a rule finds; nothing where the setup does not give the evidence, which a note says."""
    try:
        return rule(*(collector.get(kind) for kind in rule.needs))
    except Unavailable:
        return []


def _predicted(collector: Collector) -> Predicted | None:
    """What stands beside a measured profile in the report; None where the code cannot be interpreted."""
    try:
        return collector.get(Predicted)
    except Unavailable:
        return None
