"""An error in one part of a check costs that part alone, and is told with whose it is."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import Exponents, LayerGains, fault
from steadygrad.diagnosis.rules import RULES


def deep():
    torch.manual_seed(0)
    layers = [part for _ in range(30) for part in (nn.Linear(32, 32), nn.ReLU())]
    return {
        "model": nn.Sequential(*layers, nn.Linear(32, 4)),
        "data": [(torch.randn(64, 32), torch.randint(4, (64,)))],
        "loss_fn": nn.CrossEntropyLoss(),
    }


def broken(*_):
    return {}["missing"]


@pytest.fixture
def _tolerant(monkeypatch):
    monkeypatch.setattr(fault, "TOLERATED", (Exception,))


@pytest.mark.usefixtures("_tolerant")
def test_broken_evidence_costs_the_rules_that_need_it(monkeypatch):
    monkeypatch.setattr(Exponents, "collect", classmethod(broken))
    report = check(deep(), trial=False)
    needing = {code for code, rule in RULES.items() if Exponents in rule.needs}
    assert needing
    assert needing <= set(report.skipped)
    assert [f.code for f in report.findings][:1] == ["INI001"]
    (note,) = [note for note in report.notes if "KeyError" in note]
    assert "steadygrad's own" not in note
    assert "test_faults.py" in note


@pytest.mark.usefixtures("_tolerant")
def test_a_broken_rule_is_left_out(monkeypatch):
    monkeypatch.setitem(RULES, "LOS004", replace_check(RULES["LOS004"]))
    report = check(deep(), trial=False)
    assert "LOS004" in report.skipped
    assert [f.code for f in report.findings][:1] == ["INI001"]


def replace_check(rule):
    from dataclasses import replace

    return replace(rule, check=broken)


def test_elsewhere_tests_fail_on_it(monkeypatch):
    monkeypatch.setattr(LayerGains, "collect", classmethod(broken))
    with pytest.raises(KeyError, match="missing"):
        check(deep(), trial=False)
