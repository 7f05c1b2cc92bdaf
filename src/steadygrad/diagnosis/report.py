"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from steadygrad.errors import not_allowed
from steadygrad.finding import Finding
from steadygrad.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found, the cause first.

    Attributes:
        findings: by cause; what a finding explains hangs under it as its `consequences`.
        predicted: the profile from theory; None where it was not made.
        measured: the profile of one batch; None where there was none.
        checked: codes of the rules that looked.
        skipped: codes of the rules that had nothing to look at, as without data; notes say why.
        notes: what could not be looked at, in words.

    >>> Report().findings
    ()
    """

    findings: tuple[Finding, ...] = ()
    predicted: Profile | None = None
    measured: Profile | None = None
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from steadygrad.report import text

        return text.render(self.findings, **self.parts())

    def parts(self) -> dict[str, Any]:
        """Return what is told beside the findings, under the names that the forms of a report take it by.

        >>> list(Report().parts())
        ['predicted', 'measured', 'checked', 'skipped', 'notes']
        """
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "findings"}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold, with its `schema_version`."""
        from steadygrad.report import document

        return document.to_dict(self.findings, **self.parts())

    def to_sarif(self, *, file: str | None = None) -> str:
        """Return the report as SARIF 2.1.0 text.

        Args:
            file: where to show a finding that names no line of its own.
        """
        from steadygrad.report import sarif

        from .rules import RULES

        looked = {code: RULES[code] for code in self.checked}
        return sarif.to_text(self.findings, rules=looked, file=file, notes=self.notes)

    def save(self, path: str | Path) -> Path:
        """Write the report in the form that the suffix says and return where.

        Args:
            path: a file that ends in .html, .json, .sarif or .txt.

        Raises:
            ValueError: another suffix.
        """
        from steadygrad.report import saving

        return saving.save(path, self._written(Path(path).suffix))

    def _written(self, suffix: str) -> str:
        from steadygrad.report import document, page

        match suffix:
            case ".html":
                return page.render(self.findings, **self.parts())
            case ".json":
                return document.to_json(self.findings, **self.parts())
            case ".sarif":
                return self.to_sarif()
            case ".txt":
                return f"{self}\n"
            case _:
                raise ValueError(not_allowed("path", "must end in .html, .json, .sarif or .txt", suffix))
