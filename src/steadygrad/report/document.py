"""A check's report as JSON: a schema that other programs can rely on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from steadygrad.finding import Finding
from steadygrad.profile import Mark, Profile
from steadygrad.report.headline import headline

SCHEMA_VERSION: Literal[1] = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Number = FiniteFloat | Literal["Infinity", "-Infinity"] | None
"""JSON has no NaN and no infinity: what is not known is null, what is infinite is said in words."""


class FindingRecord(_Record):
    """A finding, field by field as `steadygrad.Finding`."""

    code: str
    name: str
    level: Literal["error", "warn", "info"]
    message: str
    module: str | None
    measured: Number
    expected: Number
    standard_error: Number
    count: int | None
    fix: str
    fix_code: str
    line: str | None
    defined: str | None
    step: int | None
    consequences: tuple[FindingRecord, ...]


class LayerRecord(_Record):
    """A row of a profile, field by field as `steadygrad.LayerSignal`."""

    path: str
    kind: str
    shape: tuple[int, ...] | None
    fan_in: int | None
    fan_out: int | None
    mean: Number
    q: Number
    q_low: Number
    q_high: Number
    c: Number
    signal: Number
    grad_q: Number
    grad_q_low: Number
    grad_q_high: Number
    grad_c: Number
    weight_grad_norm: Number
    dead_fraction: Number
    saturated_fraction: Number
    mark: Mark


class ProfileRecord(_Record):
    """A profile, field by field as `steadygrad.Profile`."""

    layers: tuple[LayerRecord, ...]
    source: Literal["theory", "predicted", "measured"]
    loss: Number
    batch_size: int
    unknown: tuple[str, ...]
    parameter_grad_norms: dict[str, Number]


class Document(_Record):
    """The whole report; `schema_version` grows when a field changes its meaning or goes away."""

    schema_version: Literal[1] = Field(SCHEMA_VERSION)
    headline: str
    findings: tuple[FindingRecord, ...]
    predicted: ProfileRecord | None
    measured: ProfileRecord | None
    checked: tuple[str, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def _number(value: Any) -> Any:
    """A float as JSON can hold it; everything else as it is."""
    if not isinstance(value, float) or value - value == 0:
        return value
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value)


def _record(value: Any) -> Any:
    """Frozen dataclasses as mappings, field by field."""
    if dataclasses.is_dataclass(value):
        return {field.name: _record(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _record(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_record(one) for one in value]
    return _number(value)


def to_document(
    findings: Sequence[Finding],
    *,
    predicted: Profile | None = None,
    measured: Profile | None = None,
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Document:
    """Return the report as a validated `Document`.

    >>> to_document([], checked=["INI001"]).headline
    'Clean: 1 rule found nothing.'
    """
    return Document.model_validate(
        {
            "headline": headline(findings, checked, skipped, measured=measured),
            "findings": _record(tuple(findings)),
            "predicted": _record(predicted),
            "measured": _record(measured),
            "checked": tuple(checked),
            "skipped": tuple(skipped),
            "notes": tuple(notes),
        }
    )


def to_dict(
    findings: Sequence[Finding],
    *,
    predicted: Profile | None = None,
    measured: Profile | None = None,
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the report as what `json.dumps` takes; NaN is None.

    >>> to_dict([])["schema_version"]
    1
    """
    document = to_document(
        findings, predicted=predicted, measured=measured, checked=checked, skipped=skipped, notes=notes
    )
    return document.model_dump(mode="json")


def to_json(
    findings: Sequence[Finding],
    *,
    predicted: Profile | None = None,
    measured: Profile | None = None,
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return the report as JSON text.

    >>> to_json([]).startswith("{")
    True
    """
    document = to_document(
        findings, predicted=predicted, measured=measured, checked=checked, skipped=skipped, notes=notes
    )
    return document.model_dump_json(indent=2)
