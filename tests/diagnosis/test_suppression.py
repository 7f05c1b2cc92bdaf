"""What a user knows of is not told again: by module, by project, by baseline; and what suppresses nothing is told."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.diagnosis import Baseline, Configuration
from steadygrad.diagnosis.evidence import retrials
from steadygrad.diagnosis.rules import RULES


@pytest.fixture
def dead():
    """A setup whose first ReLU is dead, and whose report has FWD005 at the root."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.constant_(model[0].bias, -6.0)
    return {"model": model, "data": [(torch.randn(64, 32), torch.randint(10, (64,)))], "loss_fn": nn.CrossEntropyLoss()}


def grave(report) -> set[str]:
    everything = [g for f in report.findings for g in (f, *f.consequences)]
    return {found.code for found in everything if found.level != "info"}


def test_an_allowed_finding_is_silent_and_travels_with_the_module(dead):
    assert "FWD005" in grave(sg.check(dead))
    sg.allow(dead["model"][1], "FWD005", reason="rare events")
    for model in (dead["model"], copy.deepcopy(dead["model"]), pickle.loads(pickle.dumps(dead["model"]))):
        report = sg.check({**dead, "model": model})
        assert "FWD005" not in grave(report)
        assert not [note for note in report.notes if "suppresses nothing" in note]


def test_what_is_allowed_in_a_module_is_allowed_below_it_and_nowhere_else(dead):
    inner, outer = copy.deepcopy(dead), dead
    sg.allow(outer["model"], "FWD", reason="the whole model")
    sg.allow(inner["model"][0], "FWD", reason="another module")
    assert "FWD005" not in grave(sg.check(outer))
    assert "FWD005" in grave(sg.check(inner))
    assert "allow('0', 'FWD') suppresses nothing." in sg.check(inner).notes


def test_a_rule_that_did_not_look_makes_no_suppression_unused(dead):
    sg.allow(dead["model"][0], "FWD", reason="not looked at")
    assert not [note for note in sg.check(dead, select=["DAT"]).notes if "suppresses" in note]


def test_allow_says_what_is_not_allowed():
    with pytest.raises(ValueError, match="Did you mean 'FWD005'"):
        sg.allow(nn.ReLU(), "FWD05", reason="x")
    with pytest.raises(ValueError, match="`reason` must say why"):
        sg.allow(nn.ReLU(), "FWD005", reason=" ")
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got 3"):
        sg.allow(3, "FWD005", reason="x")


def test_a_project_ignores_by_module_and_sets_levels(dead):
    by_module = Configuration.of({"per-module-ignores": {"1": ["FWD005"], "9.*": ["FWD"]}})
    report = sg.check(dead, configuration=by_module)
    assert "FWD005" not in grave(report)
    assert "per-module-ignores '9.*': 'FWD' suppresses nothing." in report.notes
    lowered = sg.check(dead, configuration=Configuration.of({"levels": {code: "info" for code in RULES}}))
    assert {f.level for f in lowered.findings} == {"info"}


def test_select_takes_the_place_of_the_projects_and_ignore_adds(dead):
    settled = Configuration.of({"select": ["FWD"], "ignore": ["FWD001"]})
    assert all(code.startswith("FWD") for code in sg.check(dead, configuration=settled).checked)
    checked = sg.check(dead, configuration=settled, select=["FWD001", "FWD005", "DAT"], ignore=["FWD005"]).checked
    assert set(checked) == {code for code in RULES if code.startswith("DAT")}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('igore = ["FWD"]', "Did you mean 'ignore'?"),
        ('ignore = "FWD"', "`ignore` must be a list of codes, got 'FWD'."),
        ('ignore = ["FWD05"]', "Did you mean 'FWD005'?"),
        ('levels = "warn"', "`levels` must be a table, got 'warn'."),
        ('[tool.steadygrad.levels]\nFWD005 = "warning"', "Did you mean 'warn'?"),
        ("levels = ", "must be a TOML file that can be read"),
    ],
)
def test_a_bad_table_is_one_clear_line_with_its_file(tmp_path, table, said):
    (tmp_path / "pyproject.toml").write_text(f"[tool.steadygrad]\n{table}\n")
    with pytest.raises(ValueError, match=r"pyproject\.toml") as raised:
        Configuration.nearest(tmp_path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_nearest_table_counts_and_a_file_without_one_does_not(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.steadygrad]\nignore = ["FWD"]\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text("[tool.other]\n")
    assert Configuration.nearest(inner).ignore == ("FWD",)
    (inner / "pyproject.toml").write_text("[tool.steadygrad]\n")
    assert Configuration.nearest(inner).ignore == ()


def test_a_baseline_leaves_out_what_it_knows_and_nothing_else(dead, tmp_path):
    report = sg.check(dead)
    whole = Baseline.of(report)
    (tmp_path / "known.json").write_text(whole.to_json())
    assert Baseline.load(tmp_path / "known.json").known == whole.known
    assert whole.applied(report).findings == ()
    root = report.findings[0]
    partial = Baseline(known=whole.known - {(f.code, f.module) for f in root.consequences[:1]})
    left = partial.applied(report).findings
    assert [f.code for f in left] == [f.code for f in root.consequences[:1]]
    nothing = Baseline(known=frozenset({("INI001", "9")}), name="known.json").applied(report)
    assert nothing.findings == report.findings
    assert "known.json names what is not found any more: INI001 in '9'." in nothing.notes


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 2, "findings": []}', '{"schema_version": 1}'])
def test_what_is_no_baseline_is_one_clear_line(tmp_path, text):
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(ValueError, match="`baseline` must be a baseline that --write-baseline wrote") as raised:
        Baseline.load(tmp_path / "known.json")
    assert "\n" not in str(raised.value)


def test_baselines_do_not_depend_on_the_order_of_findings(dead):
    pairs = json.loads(Baseline.of(sg.check(dead)).to_json())["findings"]
    assert pairs == sorted(pairs, key=lambda pair: (pair["code"], pair["module"] or ""))


def test_a_cause_that_is_suppressed_explains_nothing(monkeypatch):
    torch.manual_seed(0)
    layers = [part for a in [8, *[32] * 15] for part in (nn.Linear(a, 32), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(32, 4))
    x = torch.randn(256, 8)
    data = list(zip(x.split(32), (x @ torch.randn(8, 4)).argmax(1).split(32), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    tried: list[float] = []
    run = retrials.run
    monkeypatch.setattr(retrials, "run", lambda *args, **given: tried.append(given["seconds"]) or run(*args, **given))
    assert sg.check(setup).findings[0].code == "INI001"
    assert not tried  # other rates tell causes apart, and one is known
    for code in ("INI", "FWD", "BWD", "OPT004"):
        sg.allow(model, code, reason="to be tried")
    sg.check(setup)
    assert tried
