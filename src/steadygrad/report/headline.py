"""What a check found, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from steadygrad.finding import Finding, Level
from steadygrad.numbers import count
from steadygrad.profile import Profile

NOUN = {Level.ERROR: "error", Level.WARN: "warning", Level.INFO: "note"}


def flattened(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with their consequences, each right behind its cause.

    >>> inner = Finding(code="FWD001", name="vanishing-signal", level=Level.ERROR, message="small")
    >>> outer = Finding(code="INI001", name="init", level=Level.ERROR, message="gain", consequences=(inner,))
    >>> [finding.code for finding in flattened([outer])]
    ['INI001', 'FWD001']
    """
    return [one for finding in findings for one in (finding, *flattened(finding.consequences))]


def headline(
    findings: Sequence[Finding],
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    *,
    measured: Profile | None = None,
) -> str:
    """Return the number of root causes by level, or that there are none, or that no layer could be looked at.

    Rules that had nothing to look at, as where there are no data, have found nothing to be wrong and nothing to be
    right: they do not count among those that make a setup clean. Errors that warnings explain are told too. A model
    whose layers are no modules leaves an empty measured profile: that nothing was found says nothing then.

    >>> headline([], checked=["INI001", "FWD001"])
    'Clean: 2 rules found nothing.'
    >>> headline([], checked=["INI001"], skipped=["FWD001", "OPT001"])
    'Clean as far as was looked: 1 rule found nothing, 2 had nothing to look at.'
    >>> headline([Finding(code="INI001", name="init", level=Level.ERROR, message="gain")])
    'Found 1 error.'
    >>> faint = Finding(code="FWD001", name="vanishing-signal", level=Level.ERROR, message="small")
    >>> headline([Finding(code="FWD003", name="alike", level=Level.WARN, message="one", consequences=(faint,))])
    'Found 1 warning, explaining 1 further finding, 1 of them an error.'
    >>> headline([], checked=["INI001"], measured=Profile(layers=(), source="measured"))
    'Not known: no layer could be looked at.'
    """
    rules = count(len(checked), "rule")
    if not findings and measured is not None and not measured.layers:
        return "Not known: no layer could be looked at."
    if not findings and skipped:
        return f"Clean as far as was looked: {rules} found nothing, {len(skipped)} had nothing to look at."
    if not findings:
        return f"Clean: {rules} found nothing." if checked else "Clean."
    levels = Counter(finding.level for finding in findings)
    parts = ", ".join(count(levels[level], NOUN[level]) for level in Level if levels[level])
    consequences = flattened(one for finding in findings for one in finding.consequences)
    tail = f", explaining {count(len(consequences), 'further finding')}" if consequences else ""
    errors = sum(finding.level == Level.ERROR for finding in consequences) if not levels[Level.ERROR] else 0
    graver = f", {errors} of them {'an error' if errors == 1 else 'errors'}" if errors else ""
    return f"Found {parts}{tail}{graver}."
