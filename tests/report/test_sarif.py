"""SARIF as its standard has it: each result points to a rule, a place and a stable fingerprint."""

import json
import math

import pytest

from steadygrad.diagnosis import Report
from steadygrad.diagnosis.rules import RULES
from steadygrad.finding import Finding, Level
from steadygrad.report import sarif


def finding(**parts):
    return Finding(**{"code": "INI001", "name": "gain", "level": Level.WARN, "message": "Small.", **parts})


def one_result(*findings, file="net.py"):
    return sarif.to_sarif(findings, rules=RULES, file=file)["runs"][0]["results"][0]


def test_levels_are_those_of_the_standard():
    levels = {level: one_result(finding(level=level))["level"] for level in Level}
    assert levels == {Level.ERROR: "error", Level.WARN: "warning", Level.INFO: "note"}


def test_a_result_points_to_its_rule():
    run = sarif.to_sarif([finding(code=code) for code in RULES], rules=RULES)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == list(RULES)
    assert all(rule["shortDescription"]["text"] and rule["help"]["markdown"] for rule in rules)


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({}, ("net.py", 1)),
        ({"defined": "src/net.py:7"}, ("src/net.py", 7)),
        ({"defined": "src/net.py:7", "line": "net.py:12"}, ("src/net.py", 12)),
        ({"line": "net.py:12"}, ("net.py", 12)),
        ({"defined": "src/net.py:7", "line": "loss.py:3"}, ("src/net.py", 7)),
    ],
)
def test_the_place_is_the_line_then_the_class_then_the_file(parts, place):
    (location,) = one_result(finding(module="fc", **parts))["locations"]
    physical = location["physicalLocation"]
    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == place
    assert location["logicalLocations"] == [{"fullyQualifiedName": "fc", "kind": "object"}]


def test_a_file_s_name_is_a_uri():
    (location,) = one_result(finding(), file="my nets/modèle.py")["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "my%20nets/mod%C3%A8le.py"


def test_consequences_are_related_and_do_not_stand_beside_their_cause():
    inner = finding(code="BWD001", module="0")
    outer = finding(consequences=(finding(code="FWD001", consequences=(inner,)),))
    run = sarif.to_sarif([outer], rules=RULES, file="net.py")["runs"][0]
    assert len(run["results"]) == 1
    assert [r["message"]["text"][:6] for r in run["results"][0]["relatedLocations"]] == ["FWD001", "BWD001"]


def test_a_fingerprint_is_of_code_and_module_alone():
    def fingerprint(**parts):
        return one_result(finding(**parts))["partialFingerprints"]

    assert fingerprint(module="0", message="a") == fingerprint(module="0", message="b", measured=2.0)
    assert fingerprint(module="0") != fingerprint(module="1") != fingerprint(module="1", code="FWD001")


def test_it_is_json_without_nan_and_holds_the_notes(tmp_path):
    report = Report(findings=(finding(measured=math.nan, expected=1.0),), checked=("INI001",), notes=("Not looked.",))
    text = report.save(tmp_path / "report.sarif").read_text()
    run = json.loads(text, parse_constant=pytest.fail)["runs"][0]
    assert run["results"][0]["properties"] == {"expected": 1.0}
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "Not looked."
