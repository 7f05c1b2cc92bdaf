"""check: collect the evidence that the rules need, let them look, rank what they find."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from steadygrad.errors import SetupError, SteadygradError, UserCodeError, not_allowed
from steadygrad.finding import Finding, Level, Rule
from steadygrad.measurement.untouched import untouched
from steadygrad.profile import Profile
from steadygrad.setup import Setup

from .configuration import Configuration
from .data_position import data_position_kept
from .definitions import located
from .evidence import Collector, Measured, Predicted, Trained, Unavailable
from .evidence import fault as faults
from .evidence.collector import LONGEST
from .ranking import contradicted, ranked, suspected
from .report import Report
from .rules import OF_STEPS, RULES
from .selection import selected
from .standing import with_standing
from .suppression import allowances, suppressed
from .used_up_data import without_used_up_data
from .warned_once import warned_once

# Seconds of a pass that are worth telling.
_SLOW = 0.01


def check(
    setup: Setup | Mapping[str, Any] | nn.Module,
    *,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    trial: bool = True,
    seconds: float = LONGEST,
    configuration: Configuration | None = None,
) -> Report:
    """Look at a training setup before it is trained, and say what is wrong, the cause first.

    Everything is left as it was: parameters, buffers, optimizer state, `.grad`s, modes, structure, and the states of
    random number generators, the data's own included. What a machine cannot do, such as running a model that needs an
    accelerator on one without, or for want of memory, is left out and said in a note.

    Args:
        setup: a `Setup`, or a mapping with `model`, `data`, `loss_fn`, `optimizer`, and the loop's own `step`.
        select: codes of rules, or prefixes of them; all where it is empty.
        ignore: codes or prefixes to leave out.
        trial: whether to train a short trial, 200 steps or a third of `seconds`, on a snapshot that is put
            back; none is made where an error is found before it.
        seconds: that the check may take, > 0, of its thread's own time, or twice that by the clock; infinity for no
            end. What a large model leaves no time for is left out and said in a note: more seconds look at more.
        configuration: what a project settles for all its checks; `select` takes the place of its own, `ignore` adds
            to it. Nothing is read from a file here: `Configuration.nearest` does that.

    Raises:
        SetupError: the setup cannot be used.
        UserCodeError: the user's own code raised.
        ValueError: a code that no rule has, or no time.

    >>> import torch
    >>> data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}).findings
    ()
    """
    if not seconds > 0:
        raise ValueError(not_allowed("seconds", "must be > 0", seconds))
    settled = configuration or Configuration()
    codes = selected(RULES, listed(select) or settled.select, (*settled.ignore, *listed(ignore)))
    rules = {code: RULES[code] for code in codes}
    given, note = without_used_up_data(setup)
    collector = Collector(
        _shaped(Setup.of(given)),
        no_trial="" if trial else ", as asked",
        notes=[note] if note else [],
        seconds=seconds,
    )
    suppressions = (*allowances(collector.setup.model), *settled.suppressions)
    with warned_once(), untouched(*_modules(collector.setup)), data_position_kept(collector.setup.data):
        findings: list[Finding] = []
        looked = []
        for rule in rules.values():
            found = _look(rule, collector, findings)
            looked += [rule.code] if found is not None else []
            findings += found or []
            _spare(collector, suppressed(findings, suppressions, codes)[0])
        rules = with_standing(findings, RULES, collector)
        measured = collector.peek(Measured)
        predicted = _predicted(collector) if measured else None
        if collector.left_out:
            collector.note(_left_out(collector))
    return reported(
        findings,
        collector,
        settled,
        codes,
        looked=looked,
        predicted=predicted.profile if predicted else None,
        measured=measured.observation.profile if measured else None,
        rules=rules,
    )


def reported(
    findings: list[Finding],
    collector: Collector,
    settled: Configuration,
    codes: tuple[str, ...],
    *,
    looked: Collection[str],
    predicted: Profile | None,
    measured: Profile | None,
    rules: Mapping[str, Rule] = RULES,
) -> Report:
    """Return what was found, without what is suppressed, ranked by what the rules say of each other, and located."""
    model = collector.setup.model
    kept, unused = suppressed(findings, (*allowances(model), *settled.suppressions), codes)
    for words in unused:
        collector.note(words)
    trained = collector.peek(Trained)
    kept = suspected(contradicted(kept, trained.left if trained else math.nan), rules)
    levelled = [replace(finding, level=settled.level_of(finding.code, finding.level)) for finding in kept]
    return Report(
        findings=tuple(located(finding, model) for finding in ranked(levelled, rules)),
        predicted=predicted,
        measured=measured,
        checked=tuple(code for code in codes if code in looked),
        skipped=tuple(code for code in codes if code not in looked),
        notes=told_once(collector.notes),
    )


def _left_out(collector: Collector) -> str:
    given, pass_ = f"{collector.seconds:g} s", collector.pace.whole
    slow = f", where a batch takes {pass_:.2g} s forward and backward" if pass_ >= _SLOW else ""
    return f"Left out for want of time, {given}{slow} (more `seconds` look at more): {', '.join(collector.left_out)}."


_BEHIND = "Nothing behind it was looked at: "


def told_once(notes: Collection[str]) -> tuple[str, ...]:
    """Return the notes, without those on a part that is behind what another says nothing behind it was looked at for.

    >>> told_once(["No step: KeyError: 'a'", "Other: x.", f"{_BEHIND}the loss raised KeyError: 'a'."])
    ('Other: x.', "Nothing behind it was looked at: the loss raised KeyError: 'a'.")
    """

    def reason(note: str) -> str:
        return note.rstrip(".").rpartition(": ")[2]

    known = {reason(note) for note in notes if note.startswith(_BEHIND)}
    return tuple(note for note in notes if note.startswith(_BEHIND) or reason(note) not in known)


def _spare(collector: Collector, findings: list[Finding]) -> None:
    """Leave out what would say nothing new: rules come from cause to effect, and what is suppressed is no cause.

    That is a trial behind an error, and behind a warning that explains what a trial shows the trials that tell such
    causes apart.
    """
    grave = [f.code for f in findings if f.level == Level.ERROR]
    if grave and not collector.no_trial:
        collector.no_trial = f": {grave[0]} comes first"
    collector.explained = any(f.level != Level.INFO and f.code in OF_STEPS for f in findings)


def listed(codes: Collection[str]) -> tuple[str, ...]:
    """Return codes that were given, one alone too."""
    return (codes,) if isinstance(codes, str) else tuple(codes)


def _shaped(setup: Setup) -> Setup:
    """The setup, whose parameters all have shapes: those of a lazy module could not be taken away again."""
    lazy = [name for name, p in setup.model.named_parameters() if is_lazy(p)]
    if lazy:
        raise SetupError(
            "`model` must have been called once on a batch where it has lazy parameters, "
            f"got {lazy[0]!r} without shape."
        )
    parameters = [p for module in _modules(setup) for p in module.parameters()]
    if setup.loss_fn is not None and not any(p.requires_grad for p in parameters):
        raise SetupError(
            "`model` must have a parameter that requires a gradient, for there to be something to train, got "
            f"{len(parameters)}, none of which does."
        )
    if setup.data is not None and any(p.is_meta for p in parameters):
        raise SetupError(
            "`model` must hold its weights to run on data, got parameters on the meta device. "
            "`steadygrad check --static` and `sg.predict` need none."
        )
    return setup


def _modules(setup: Setup) -> list[nn.Module]:
    return [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]


def _look(rule: Rule, collector: Collector, before: list[Finding]) -> list[Finding] | None:
    """What a rule finds; None where the setup does not give the evidence, which a note says.

    An error of this package's own costs what it was met in, and the rest is looked at all the same. The user's code
    may raise for what a rule before this one has found an error in: then that says more.
    """
    try:
        return rule(*(collector.get(kind) for kind in rule.needs))
    except Unavailable:
        return None
    except UserCodeError as error:
        if all(found.level != Level.ERROR for found in before):
            raise
        collector.note(f"{_BEHIND}{error}.".replace("..", "."))
        return None
    except SteadygradError:
        raise
    except faults.TOLERATED as error:
        collector.note(faults.fault(error))
        return None


def _predicted(collector: Collector) -> Predicted | None:
    """What stands beside a measured profile in the report; None where the code cannot be interpreted."""
    try:
        return collector.get(Predicted)
    except Unavailable:
        return None
