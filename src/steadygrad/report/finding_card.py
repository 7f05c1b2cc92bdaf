"""A finding as a piece of HTML, its consequences inside of it."""

from __future__ import annotations

from html import escape

from steadygrad.finding import Finding
from steadygrad.numbers import short


def finding_card(finding: Finding) -> str:
    """Return the finding as an HTML section; every text is escaped.

    >>> from steadygrad.finding import Level
    >>> card = finding_card(Finding(code="INI001", name="init", level=Level.ERROR, message="gain < 1"))
    >>> "<p>gain &lt; 1</p>" in card
    True
    """
    parts = [_head(finding), f"<p>{escape(finding.message)}</p>", _numbers(finding)]
    if finding.fix:
        parts.append(f"<p><b>Fix.</b> {escape(finding.fix)}</p>")
    if finding.fix_code:
        parts.append(f"<pre><code>{escape(finding.fix_code.strip(chr(10)))}</code></pre>")
    if finding.consequences:
        parts += ['<p class="why">which explains</p>', *map(finding_card, finding.consequences)]
    return f'<section class="finding is-{finding.level}">{"".join(filter(None, parts))}</section>'


def _head(finding: Finding) -> str:
    where = [f"in {finding.module}" if finding.module else "", finding.line or ""]
    where.append(f"step {finding.step}" if finding.step is not None else "")
    small = " · ".join(escape(word) for word in where if word)
    return (
        f'<h3><span class="level {finding.level}">{finding.level}</span>{escape(finding.code)} {escape(finding.name)}'
        + (f"<small>{small}</small>" if small else "")
        + "</h3>"
    )


def _numbers(finding: Finding) -> str:
    """What was measured, what theory expects, and how sure that is."""
    numbers = {"measured": finding.measured, "expected": finding.expected, "standard error": finding.standard_error}
    shown = {name: short(value) for name, value in numbers.items() if value is not None}
    if finding.count is not None:
        shown["from"] = f"{finding.count} samples"
    if not shown:
        return ""
    return f'<dl class="numbers">{"".join(f"<div><dt>{n}</dt><dd>{v}</dd></div>" for n, v in shown.items())}</dl>'
