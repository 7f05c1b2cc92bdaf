"""Every rule's page holds a bad example that yields its code and a good one that yields nothing grave."""

import re
from functools import cache
from pathlib import Path

import pytest

from steadygrad.diagnosis import check
from steadygrad.diagnosis.rule_file import examples
from steadygrad.diagnosis.rules import RULES

DOCS = Path(__file__).parents[2] / "docs"


def built(page: str, which: str) -> dict:
    scope: dict = {}
    exec(examples(page)[which], scope)
    return scope["setup"]


@cache
def report_on(code: str, which: str):
    return check(built(RULES[code].page, which))


def codes(findings) -> set[str]:
    return {found.code for f in findings for found in (f, *f.consequences)}


@pytest.mark.parametrize("code", RULES)
def test_the_bad_example_yields_the_code(code):
    assert code in codes(report_on(code, "Bad").findings)


@pytest.mark.parametrize("code", RULES)
def test_the_good_example_is_clean(code):
    report = report_on(code, "Good")
    assert [f for f in report.findings if f.level != "info"] == []
    assert code in report.checked


@pytest.mark.parametrize("code", RULES)
def test_a_page_says_what_to_do_when_to_ignore_it_and_where_it_comes_from(code):
    page = RULES[code].page
    assert all(words in page for words in ("What to do:", "When to ignore:", "Reference:"))
    assert re.fullmatch(r"(DAT|NET|INI|FWD|BWD|LOS|OPT|NUM|RUN)\d{3}", code)


@pytest.mark.parametrize("code", RULES)
def test_a_finding_carries_its_evidence(code):
    findings = [g for f in report_on(code, "Bad").findings for g in (f, *f.consequences)]
    found = next(f for f in findings if f.code == code)
    assert (found.code, found.name) == (code, RULES[code].name)
    assert found.message.endswith(".")
    assert found.fix
    assert found.measured is not None
    assert found.expected is not None
    assert found.count > 0


def test_causes_are_rules_and_have_no_cycle():
    order = list(RULES)
    for code, rule in RULES.items():
        assert all(order.index(cause) < order.index(code) for cause in rule.explained_by)


def test_the_pages_in_docs_are_those_of_the_rules(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import rules_pages

    written = {file.name: file.read_text() for file in (DOCS / "rules").glob("*.md")}
    assert written == rules_pages.pages(), "Run `python docs/rules_pages.py`."
