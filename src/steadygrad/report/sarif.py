"""A check's report as SARIF 2.1.0, which code hosts and editors show beside the source.

Every root cause is a result: its logical location is the module's path, its physical one the source line concerned,
else the line where the user's class begins, else the file that was checked. What a cause explains is a related
location of it, so that consequences do not stand beside it.

Reference: OASIS, Static Analysis Results Interchange Format version 2.1.0, sections 3.27 (result) and 3.28 (location).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import quote

from steadygrad.finding import Finding, Level, Rule
from steadygrad.report.headline import flattened
from steadygrad.report.rule_page import render, summary

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Level.ERROR: "error", Level.WARN: "warning", Level.INFO: "note"}


def to_sarif(
    findings: Sequence[Finding],
    *,
    rules: Mapping[str, Rule],
    file: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the report as what `json.dumps` takes.

    Args:
        findings: ranked root causes, each with its consequences.
        rules: the rules that looked, by code.
        file: where to show a finding that names no line of its own.
        notes: what could not be looked at, in words.

    >>> to_sarif([], rules={})["version"]
    '2.1.0'
    """
    order = {code: place for place, code in enumerate(rules)}
    driver = {"name": "steadygrad", **_version(), "rules": [_rule(rule) for rule in rules.values()]}
    said = [{"level": "note", "message": {"text": note}} for note in notes]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": said}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, order, file) for finding in findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def to_text(
    findings: Sequence[Finding],
    *,
    rules: Mapping[str, Rule],
    file: str | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the report as SARIF text.

    >>> to_text([], rules={}).startswith("{")
    True
    """
    return json.dumps(to_sarif(findings, rules=rules, file=file, notes=notes), indent=2)


def _version() -> dict[str, str]:
    """This package's version; nothing where it runs without being installed."""
    try:
        return {"version": metadata.version("steadygrad")}
    except metadata.PackageNotFoundError:
        return {}


def _rule(rule: Rule) -> dict[str, Any]:
    words = {"text": summary(rule)}
    help_ = {**words, "markdown": render(rule)}
    return {"id": rule.code, "name": rule.name, "shortDescription": words, "help": help_}


def _result(finding: Finding, order: Mapping[str, int], file: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.level],
        "message": {"text": " ".join(filter(None, (finding.message, finding.fix)))},
        "locations": [_location(finding, file)],
        "partialFingerprints": {"codeAndModule/v1": _fingerprint(finding)},
        "properties": _properties(finding),
    }
    if finding.code in order:
        result["ruleIndex"] = order[finding.code]
    related = flattened(finding.consequences)
    if related:
        result["relatedLocations"] = [_related(one, number, file) for number, one in enumerate(related)]
    return result


def _related(finding: Finding, number: int, file: str | None) -> dict[str, Any]:
    return {"id": number, "message": {"text": f"{finding.code}: {finding.message}"}, **_location(finding, file)}


def _location(finding: Finding, file: str | None) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if place := _place(finding, file):
        uri, line = place
        location["physicalLocation"] = {"artifactLocation": {"uri": quote(uri)}, "region": {"startLine": line}}
    if finding.module is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.module or "model", "kind": "object"}]
    return location


def _place(finding: Finding, file: str | None) -> tuple[str, int] | None:
    """File and line: the line concerned where its file is known, else the class, else the file that was checked."""
    defined, checked = _split(finding.defined), None if file is None else (file, 1)
    line = _split(finding.line)
    if line is None:
        return defined or checked
    # A source line has its file's name alone: the whole path is that of a known file with this name.
    for known in (defined, checked):
        if known is not None and known[0].rpartition("/")[2] == line[0].rpartition("/")[2]:
            return known[0], line[1]
    return defined or line


def _split(place: str | None) -> tuple[str, int] | None:
    name, _, number = (place or "").rpartition(":")
    return (name, int(number)) if name and number.isdigit() else None


def _fingerprint(finding: Finding) -> str:
    return hashlib.sha256(f"{finding.code}\n{finding.module or ''}".encode()).hexdigest()[:32]


def _properties(finding: Finding) -> dict[str, Any]:
    """The numbers behind it and the code that mends it; what is not finite is left out, JSON having no such numbers."""
    numbers = {
        "measured": finding.measured,
        "expected": finding.expected,
        "standardError": finding.standard_error,
        "count": finding.count,
        "fixCode": finding.fix_code or None,
    }
    return {name: x for name, x in numbers.items() if x is not None and (isinstance(x, str) or x - x == 0)}
