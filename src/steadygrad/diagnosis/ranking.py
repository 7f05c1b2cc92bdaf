"""Findings by cause: what explains others comes first, and they hang under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from steadygrad.finding import Finding, Level, Rule
from steadygrad.measurement.trial import LEARNED

# What they say is that little reaches the other end of the network, or too much, its outputs included.
_HARDLY = ("INI001", "INI004", "INI005", "FWD001", "FWD002", "FWD003", "FWD004", "LOS004", "BWD001", "BWD002")

# A scale that is off, or a memory that is short, may do no harm.
_MAY_BE_FINE = ("DAT001", "DAT002", "DAT004", "LOS", "BWD001")

# What shows that it does some: what a trial says, and units that inputs out of scale drive to where they are flat. A
# first loss that is far off shows it of the inputs' scale alone: that it goes with it was tried.
_SYMPTOMS = ("RUN", "FWD004", "LOS004")
_TRIED = {"LOS004": ("DAT001",)}


def ranked(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> tuple[Finding, ...]:
    """Return the findings that nothing else explains, each with what it explains: what is as grave as that first.

    A finding is explained by the first finding, in the order of its rule's `explained_by`, that is itself explained
    by nothing; only warnings and errors explain.

    Args:
        findings: in the order in which rules gave them.
        rules: by code.

    >>> from steadygrad.diagnosis.rules import RULES
    >>> from steadygrad.finding import Level
    >>> root, effect = (Finding(code=c, name="", level=Level.ERROR, message="") for c in ("INI001", "BWD001"))
    >>> [(f.code, [g.code for g in f.consequences]) for f in ranked([effect, root], RULES)]
    [('INI001', ['BWD001'])]
    """
    all_of_them = list(findings)
    causes = {f.code for f in all_of_them if f.level != "info"}
    roots = [f for f in all_of_them if _cause(f.code, causes, rules) is None]
    effects = [f for f in all_of_them if _cause(f.code, causes, rules) is not None]
    order = {code: place for place, code in enumerate(rules)}
    roots.sort(key=lambda f: (f.level.rank, order[f.code]))
    effects.sort(key=lambda f: (f.level.rank, order[f.code]))
    whole = [_with_consequences(root, roots, effects, causes, rules) for root in roots]
    return tuple(sorted(whole, key=lambda f: min(g.level.rank for g in (f, *f.consequences))))


def suspected(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """Return the findings, what was worth knowing raised to the level of what a trial shows of it.

    A scale that is off, or a recurrent layer's short memory, may do no harm, and is then `info`; where a trial comes to
    nothing, or units are saturated, and nothing graver explains that, what would explain it is its probable cause.

    >>> from steadygrad.diagnosis.rules import RULES
    >>> from steadygrad.finding import Level
    >>> scale = Finding(code="DAT002", name="", level=Level.INFO, message="")
    >>> stuck = Finding(code="RUN004", name="", level=Level.WARN, message="")
    >>> [str(f.level) for f in suspected([scale, stuck], RULES)]
    ['warn', 'warn']
    """
    given = list(findings)
    present = {f.code for f in given if f.level != "info"}
    for symptom in [f for f in given if f.code.startswith(_SYMPTOMS) and f.level != "info"]:
        causes = rules[symptom.code].explained_by
        if not present & {code for code in causes if not code.startswith("RUN")}:
            fine = _TRIED.get(symptom.code, _MAY_BE_FINE)
            level, codes = symptom.level, {code for code in causes if code.startswith(fine)}
            given = [replace(f, level=level) if f.level == "info" and f.code in codes else f for f in given]
    return given


def contradicted(findings: Iterable[Finding], left: float) -> list[Finding]:
    """Return the findings, warnings that a network will hardly learn made `info` where a trial of it learned.

    What a signal or a gradient may lose over the depth is known for plain descent and to a factor: an optimizer that
    scales each step may make up for it. A run that ends below a tenth of what a constant output has, the point at which
    a trial ends for having nothing left to show, is no run that suffers from it.

    Args:
        findings: all there are.
        left: the loss at the end of a trial over that of a constant output; NaN where there was none.

    >>> from steadygrad.finding import Level
    >>> faint = Finding(code="FWD001", name="", level=Level.WARN, message="Little is left.")
    >>> [str(f.level) for left in (0.05, 0.5) for f in contradicted([faint], left)]
    ['info', 'warn']
    """
    if not left < LEARNED:
        return list(findings)
    words = " A trial learned all the same: it ended below a tenth of the loss of a constant output."
    return [
        replace(f, level=Level.INFO, message=f.message + words) if f.level == Level.WARN and f.code in _HARDLY else f
        for f in findings
    ]


def _cause(code: str, present: set[str], rules: Mapping[str, Rule]) -> str | None:
    """The code at the root of what explains this one; None where nothing does."""
    found = next((cause for cause in rules[code].explained_by if cause in present and cause != code), None)
    return None if found is None else _cause(found, present - {code}, rules) or found


def _with_consequences(
    root: Finding, roots: list[Finding], effects: list[Finding], causes: set[str], rules: Mapping[str, Rule]
) -> Finding:
    """Effects hang under the first finding of their root's code."""
    if next(f for f in roots if f.code == root.code) is not root:
        return root
    return replace(root, consequences=tuple(f for f in effects if _cause(f.code, causes, rules) == root.code))
