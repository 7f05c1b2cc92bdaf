"""check on whole setups: what it says first, what hangs under it, and that it changes nothing."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from steadygrad.diagnosis import check as checked
from steadygrad.diagnosis.evidence import predicted
from steadygrad.diagnosis.ranking import ranked
from steadygrad.diagnosis.rules import RULES
from steadygrad.errors import SetupError, UserCodeError
from steadygrad.finding import Finding, Level
from steadygrad.prediction import predict

# What is seen before a step is made: a trial on random labels would say only that there is little to learn.
check = partial(checked, trial=False)


def mlp(depth: int, width: int = 128, act: type[nn.Module] = nn.ReLU, inputs: int = 64) -> nn.Sequential:
    sizes = [inputs] + [width] * depth
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def setup(model: nn.Module, size: int = 64) -> dict:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(size, 64, generator=generator), torch.randint(10, (size,), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return {"model": model, "data": [(x, y)], "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def codes(report) -> list[str]:
    return [f.code for f in report.findings if f.level != "info"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_the_deep_default_network_is_told_by_its_cause_with_the_consequences_under_it():
    """sigma_w² = 1/3 before ReLU, which asks for 2; a sixth of the signal and of the gradient a layer.

    In double precision: in single what is left at layer 30 is rounding, 3e-18 instead of 6^-30 = 4.5e-24.
    """
    bad = setup(mlp(30).double())
    x, y = bad["data"][0]
    (found,) = check({**bad, "data": [(x.double(), y)]}).findings
    assert (found.code, found.level) == ("INI001", Level.ERROR)
    assert {"FWD001", "BWD001"} <= {f.code for f in found.consequences}
    assert abs(found.measured - math.sqrt(1 / 3)) < 5 * found.standard_error
    assert found.expected == pytest.approx(math.sqrt(2), abs=1e-9)
    vanished = next(f for f in found.consequences if f.code == "FWD001")
    # 6^-30, with the spread of finite width: 30 layers of 5/128 in the logarithm's variance.
    assert abs(math.log(vanished.measured) + 30 * math.log(6)) < 5 * math.sqrt(30 * 5 / 128)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.SELU, nn.GELU, nn.LeakyReLU])
def test_the_code_of_the_fix_makes_the_same_check_clean(act):
    model = mlp(30, act=act)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3 / layer.in_features**0.5)
    (found, *_) = check(setup(model)).findings
    assert found.code == "INI001"
    exec(found.fix_code, {"model": model})
    assert codes(check(setup(model))) == []


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_shallow_default_networks_are_left_in_peace(depth):
    for act in (nn.ReLU, nn.Tanh):
        assert codes(check(setup(mlp(depth, act=act)))) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_deep_network_with_the_right_gain_is_clean(seed):
    torch.manual_seed(seed)
    model = mlp(40)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    assert codes(check(setup(model))) == []


def test_a_layer_before_a_norm_has_no_gain_to_mismatch():
    layers = [part for _ in range(12) for part in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    for layer in model[:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=10.0)
    assert "INI001" not in codes(check(setup(model)))


def test_parallel_branches_do_not_count_as_depth():
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(mlp(2, 32) for _ in range(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([branch(x) for branch in self.branches]).mean(0)

    assert codes(check(setup(Mean()))) == []


def test_sigmoid_towers_are_not_the_weights_fault():
    model = mlp(10, act=nn.Sigmoid)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
    assert codes(check(setup(model)))[0] in ("FWD003", "BWD001")


def test_everything_is_as_it_was():
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(256, 64), torch.randint(10, (256,)))
    loader = DataLoader(data, batch_size=32, shuffle=True, generator=generator)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), generator.get_state()
    check({"model": model, "data": loader, "loss_fn": nn.CrossEntropyLoss()})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(generator.get_state(), states[1])


def test_select_and_ignore_take_codes_and_prefixes():
    bad = setup(mlp(30))
    assert check(bad, select=["BWD"]).checked == ("BWD001", "BWD002", "BWD003", "BWD004")
    assert codes(check(bad, select=["BWD"])) == ["BWD001"]
    assert "INI001" not in check(bad, ignore=["INI"]).checked
    with pytest.raises(ValueError, match=r"`select` must be a rule's code .* Did you mean 'INI001'"):
        check(bad, select=["INI01"])
    with pytest.raises(ValueError, match=r"Did you mean 'BWD001'"):
        check(bad, select=["bwd"])
    with pytest.raises(ValueError, match=r"`ignore` must leave a rule that is selected, got 'INI'"):
        check(bad, select=["INI"], ignore=["INI"])


def test_nan_in_a_batch_is_a_finding_and_the_rest_is_measured_on_a_clean_one():
    bad = setup(mlp(2))
    x, y = bad["data"][0]
    spoilt = x.clone()
    spoilt[3, 7] = math.nan
    report = check({**bad, "data": [(spoilt, y), (x, y)]})
    assert codes(report) == ["DAT003"]
    assert report.findings[0].count == 2 * (x.numel() + y.numel())
    assert report.measured.batch_size == 64
    nothing = check({**bad, "data": [(spoilt, y)]})
    assert codes(nothing) == ["DAT003"]
    assert nothing.measured is None
    assert any("nothing was measured" in note for note in nothing.notes)


def test_a_model_without_data_is_said_not_to_be_measured():
    report = check(mlp(2))
    assert report.findings == ()
    assert {"INI001", "FWD001", "BWD001", "LOS001", "OPT001", "RUN002"} <= set(report.skipped)
    assert str(report).startswith(f"Clean as far as was looked: {len(report.checked)} rules found nothing, ")
    assert report.notes == (
        "There are no data, so nothing was measured: a setup has `data` and `loss_fn` beside its `model`.",
        "There is no optimizer, so none was looked at.",
    )


@pytest.mark.parametrize("missing", ["optimizer", "loss_fn", "data", "nothing"])
def test_each_rule_looked_or_had_nothing_to_look_at(missing):
    gone = {"nothing": (), "data": ("data", "loss_fn")}.get(missing, (missing,))
    model = mlp(1)
    given = {**setup(model), "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    report = check({key: part for key, part in given.items() if key not in gone}, trial=False)
    assert sorted((*report.checked, *report.skipped)) == sorted(RULES)
    assert ("OPT005" in report.skipped) == (missing in ("optimizer", "data"))
    assert report.to_dict()["skipped"] == list(report.skipped)


def test_user_errors_come_as_one_line():
    with pytest.raises(UserCodeError, match=r"module '0' \(Linear\) raised RuntimeError"):
        check({**setup(mlp(1)), "model": mlp(1, inputs=63)})
    with pytest.raises(SetupError, match="scalar"):
        check({**setup(mlp(1)), "loss_fn": nn.CrossEntropyLoss(reduction="none")})


def test_a_report_prints_and_is_written_by_suffix(tmp_path):
    report = check(setup(mlp(30)))
    assert "INI001" in str(report)
    assert report.to_dict()["findings"][0]["code"] == "INI001"
    for name in ("r.txt", "r.json", "r.html"):
        assert "INI001" in report.save(tmp_path / name).read_text()
    with pytest.raises(ValueError, match=r"must end in \.html, \.json, \.sarif or \.txt, got '\.pdf'"):
        report.save(tmp_path / "r.pdf")


def finding(code: str, level: Level = Level.ERROR) -> Finding:
    return Finding(code=code, name=RULES[code].name, level=level, message="")


def test_roots_come_first_by_level_and_hold_what_they_explain():
    found = ranked([finding(c) for c in ("BWD001", "FWD001", "DAT003", "INI001")], RULES)
    assert [(f.code, [g.code for g in f.consequences]) for f in found] == [
        ("DAT003", []),
        ("INI001", ["FWD001", "BWD001"]),
    ]
    chain = ranked([finding("BWD001"), finding("FWD003", Level.WARN), finding("FWD001")], RULES)
    assert [(f.code, [g.code for g in f.consequences]) for f in chain] == [("FWD003", ["FWD001", "BWD001"])]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            (torch.ones(4, 64), torch.zeros(3, dtype=torch.long)),
            r"batch 1 of `data`: a batch must have as many targets",
        ),
        (torch.ones(4, 64), r"batch 1 of `data`: a batch of `data` must be a pair"),
        ((torch.ones(4, 64), [1, 2, 3, 4]), r"batch 1 of `data`: the targets of a batch must be"),
    ],
)
def test_a_later_batch_that_is_no_batch_is_named_by_its_number(second, said):
    good = setup(mlp(2))
    with pytest.raises(SetupError, match=said):
        check({**good, "data": [*good["data"], second]})


def test_a_prediction_that_takes_too_long_is_cut_and_said_and_the_measurement_stands(monkeypatch):
    monkeypatch.setattr(predicted, "predict", lambda *args, seconds, **given: predict(*args, seconds=1e-9, **given))
    model = mlp(4)
    whole = check(setup(model))
    assert any("Prediction: not predicted within" in note for note in whole.notes)
    assert {row.mark for row in whole.predicted} == {"unknown"}
    assert all(row.q > 0 for row in whole.measured)
    monkeypatch.undo()
    assert check(setup(model)).findings == whole.findings
