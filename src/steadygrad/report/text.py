"""A check's report for the terminal: what was found first, then the table by layer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from steadygrad.finding import Finding, Level
from steadygrad.profile import Profile
from steadygrad.report.headline import headline
from steadygrad.report.layer_table import known, layer_table, legend
from steadygrad.report.pairing import paired
from steadygrad.terminal import Code, to_text

STYLE = {Level.ERROR: "bold red", Level.WARN: "bold yellow", Level.INFO: "bold blue"}


def render(
    findings: Sequence[Finding],
    *,
    predicted: Profile | None = None,
    measured: Profile | None = None,
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
    width: int = 100,
    color: bool = False,
    every_row: bool = False,
) -> str:
    """Return the report as text.

    Args:
        findings: ranked root causes, each with its consequences.
        predicted: the predicted profile, for the table by layer.
        measured: the measured one.
        checked: codes of the rules that looked.
        skipped: codes of those that had nothing to look at.
        notes: what could not be looked at, in words.
        width: columns of the terminal, at least 40.
        color: whether to write ANSI colours.
        every_row: every module in the table, instead of the layers with weights, the middle of many left out.

    >>> print(render([], checked=["INI001"]))
    Clean: 1 rule found nothing.
    """
    parts: list[RenderableType] = [Text(headline(findings, checked, skipped, measured=measured), style="bold")]
    parts += [part for finding in findings for part in ("", _finding(finding))]
    pairs = paired(predicted, measured, every_module=every_row)
    if known(pairs):
        parts += ["", layer_table(pairs, every_row=every_row, width=width), Text(legend(pairs), style="dim")]
    unknown = () if predicted is None else [words for words in predicted.unknown if not any(words in n for n in notes)]
    parts += [Text(f"Not known: {words}", style="dim") for words in unknown]
    parts += [Text(f"Note: {words}", style="dim") for words in notes]
    return to_text(Group(*parts), width=width, color=color)


def _finding(finding: Finding) -> RenderableType:
    parts: list[RenderableType] = [_head(finding), Padding(Text(finding.message), (0, 0, 0, 2))]
    parts += [Padding(_consequence(one), (0, 0, 0, 2)) for one in finding.consequences]
    if finding.fix:
        parts.append(Padding(Text.assemble(("Fix: ", "bold"), finding.fix), (0, 0, 0, 2)))
    if finding.fix_code:
        parts += ["", Code(finding.fix_code, indent=6)]
    return Group(*parts)


def _head(finding: Finding) -> Text:
    where = f" in {finding.module}" if finding.module else ""
    line = f" ({finding.line})" if finding.line else ""
    step = f" at step {finding.step}" if finding.step is not None else ""
    level = (f"{finding.level} ", STYLE[finding.level])
    return Text.assemble(level, (f"{finding.code} {finding.name}", "bold"), where, step, line)


def _consequence(finding: Finding) -> RenderableType:
    inner = [Padding(_consequence(one), (0, 0, 0, 3)) for one in finding.consequences]
    return Group(Text.assemble("└─ ", _head(finding)), Padding(Text(finding.message), (0, 0, 0, 3)), *inner)
