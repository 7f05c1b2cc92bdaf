"""A baseline: what a project knows of and will mend later, so that only what is new fails its checks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steadygrad.errors import SetupError
from steadygrad.finding import Finding

from .report import Report

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Findings that are known, by code and module.

    Attributes:
        known: pairs of a code and a module's path, None where no module is concerned.
        name: what to call it, such as the name of its file.
    """

    known: frozenset[tuple[str, str | None]]
    name: str = "the baseline"

    @classmethod
    def of(cls, report: Report) -> Baseline:
        """Return a baseline that knows all that a report found, consequences included.

        >>> Baseline.of(Report()).known
        frozenset()
        """
        return cls(known=frozenset((f.code, f.module) for f in _flattened(report.findings)))

    @classmethod
    def load(cls, path: str | Path) -> Baseline:
        """Read a baseline that `to_json` wrote.

        Raises:
            SetupError: there is no such file, or it holds something else.
        """
        file = Path(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(known=frozenset(map(_pair, _entries(content))), name=file.name)
        except (OSError, ValueError, TypeError, KeyError) as error:
            rule = "must be a baseline that --write-baseline wrote"
            raise SetupError(f"`baseline` {rule}, got {str(file)!r} ({_why(error)}).") from error

    def to_json(self) -> str:
        """Return the baseline as JSON text, sorted, so that a change of it reads well.

        >>> print(Baseline(known=frozenset({("INI001", "0")})).to_json())
        {
          "schema_version": 1,
          "findings": [
            {
              "code": "INI001",
              "module": "0"
            }
          ]
        }
        """
        pairs = sorted(self.known, key=lambda pair: (pair[0], pair[1] or ""))
        entries = [{"code": code, "module": module} for code, module in pairs]
        return json.dumps({"schema_version": SCHEMA_VERSION, "findings": entries}, indent=2)

    def applied(self, report: Report) -> Report:
        """Return the report without what is known; a new consequence of a known cause stands on its own.

        Two notes say how many were left out, and what the baseline names that is not found any more.
        """
        found = {(f.code, f.module) for f in _flattened(report.findings)}
        new = tuple(f for root in report.findings for f in self._new(root))
        notes = list(report.notes)
        if seen := len(found & self.known):
            notes.append(f"{seen} known {'finding is' if seen == 1 else 'findings are'} in {self.name}.")
        gone = sorted(f"{code} in {module!r}" if module else code for code, module in self.known - found)
        if gone:
            notes.append(f"{self.name} names what is not found any more: {', '.join(gone)}.")
        return replace(report, findings=new, notes=tuple(notes))

    def _new(self, finding: Finding) -> list[Finding]:
        inner = [new for one in finding.consequences for new in self._new(one)]
        if (finding.code, finding.module) in self.known:
            return inner
        return [replace(finding, consequences=tuple(inner))]


def _flattened(findings: Iterable[Finding]) -> list[Finding]:
    return [one for finding in findings for one in (finding, *_flattened(finding.consequences))]


def _entries(content: Any) -> list[Any]:
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {content['schema_version']!r}, not {SCHEMA_VERSION}")
    return list(content["findings"])


def _pair(entry: Any) -> tuple[str, str | None]:
    code, module = entry["code"], entry["module"]
    if not isinstance(code, str) or not isinstance(module, str | None):
        raise TypeError(f"an entry that is not a code and a module: {entry!r}")
    return code, module


def _why(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {words}" if isinstance(error, KeyError) else words
