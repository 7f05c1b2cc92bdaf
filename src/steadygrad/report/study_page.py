"""A built-in study as one HTML page that needs nothing else: a section a question, with its picture and its checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from steadygrad.numbers import short
from steadygrad.report.chart_files import themed_svg


@dataclass(frozen=True, kw_only=True)
class Check:
    """One number that a study predicted and then measured.

    Attributes:
        what: it is.
        predicted: by theory.
        measured: mean over the seeds.
        error: its standard error.
        allowed: the largest difference at which the prediction holds.
        least: whether the prediction is a lower bound, from which only less is off.

    >>> Check(what="gain", predicted=1.0, measured=1.02, error=0.01, allowed=0.05).holds
    True
    """

    what: str
    predicted: float
    measured: float
    error: float
    allowed: float
    least: bool = False

    @property
    def off(self) -> float:
        """How far the measurement lies from the prediction; NaN where there is none."""
        off = self.predicted - self.measured
        return abs(off) if not self.least or math.isnan(off) else max(off, 0.0)

    @property
    def holds(self) -> bool:
        """Whether the prediction holds; what was not measured does not."""
        return self.off <= self.allowed


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question of a study.

    Attributes:
        name: of its pictures' files.
        title: of the section.
        claim: what is claimed.
        prediction: what theory says, in a sentence.
        chart: an Altair chart.
        checks: what was held against theory.
        verdict: whether the claim holds, and with what limits.
    """

    name: str
    title: str
    claim: str
    prediction: str
    chart: Any
    checks: tuple[Check, ...]
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def conclusion(self) -> str:
        """The verdict; where a check fails, first that it does not stand as a whole."""
        failed = "; ".join(check.what for check in self.checks if not check.holds)
        return f"not all of what follows is borne out here ({failed}): {self.verdict}" if failed else self.verdict

    @property
    def sentence(self) -> str:
        """The verdict, how many checks hold, and which is nearest to its limit or beyond it."""
        worst = max(self.checks, key=_share)
        held = sum(check.holds for check in self.checks)
        bound = "at least " if worst.least else ""
        return (
            f"{self.title}: {self.conclusion} {held} of {len(self.checks)} checks hold; nearest to its limit: "
            f"{worst.what}, {short(worst.measured)} measured, {bound}{short(worst.predicted)} predicted, "
            f"{short(worst.off)} off of {short(worst.allowed)} allowed."
        )


def _share(check: Check) -> float:
    share = check.off / check.allowed if check.allowed else math.inf * check.off if check.off else 0.0
    return math.inf if math.isnan(share) else share


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header><p>steadygrad study</p><h1 class="{clean}">{title}</h1><p>{summary}</p></header>
{body}
<footer>
<p>Error bars and ± are standard errors over the seeds. A check in bold red lies beyond what is allowed.</p></footer>
</main>
</body>
</html>
"""


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the page, light or dark as its reader's system is.

    Args:
        title: of the study.
        sections: in the order of the page.

    >>> "0 of 0 predictions hold." in render("empty", [])
    True
    """
    checks = [check for section in sections for check in section.checks]
    held = sum(check.holds for check in checks)
    return _PAGE.format(
        title=escape(title),
        style=files("steadygrad.report").joinpath("page.css").read_text(encoding="utf-8"),
        clean="clean" if held == len(checks) else "",
        summary=f"{held} of {len(checks)} predictions hold.",
        body="\n".join(map(_section, sections)),
    )


def _section(section: Section) -> str:
    said = section.conclusion[:1].upper() + section.conclusion[1:]
    return (
        f'<h2 id="{escape(section.name)}">{escape(section.title)}</h2>\n'
        f"<p><b>Claim.</b> {escape(section.claim)}</p>\n<p><b>Prediction.</b> {escape(section.prediction)}</p>\n"
        f"<figure>{themed_svg(section.chart)}</figure>\n<p><b>Verdict.</b> {escape(said)}</p>\n"
        f"{_table(section.checks)}"
    )


def _table(checks: Sequence[Check]) -> str:
    titles = "".join(f"<th>{t}</th>" for t in ("check", "holds", "predicted", "measured", "off", "allowed"))
    rows = "\n".join(map(_row, checks))
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _row(check: Check) -> str:
    outside = "" if check.holds else ' class="outside"'
    measured = short(check.measured) + (f" ± {check.error:.1g}" if check.error > 0 else "")
    predicted = ("≥ " if check.least else "") + short(check.predicted)
    cells = [predicted, measured, short(check.off), short(check.allowed)]
    numbers = "".join(f"<td{outside}>{escape(cell)}</td>" for cell in cells)
    return f"<tr><td>{escape(check.what)}</td><td>{'yes' if check.holds else 'no'}</td>{numbers}</tr>"
