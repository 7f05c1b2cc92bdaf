"""What inputs out of scale explain: what goes when they are standardised, and nothing that stands."""

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from steadygrad.cli import app
from steadygrad.diagnosis import check


def setup(depth, activation, scale, width=32):
    """A stack on normal inputs of some scale; a gain of 5/3 keeps the signal of tanh."""
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        if activation is nn.Tanh:
            nn.init.xavier_normal_(layer.weight, 5 / 3)
            nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    x = scale * torch.randn(256, width)
    model = nn.Sequential(*layers, nn.Linear(width, 4))
    data = list(zip(x.split(64), (x[:, :4].argmax(1)).split(64), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def families(report):
    return {f.code: {g.code for g in f.consequences} for f in report.findings}


def test_depth_that_loses_the_signal_of_any_inputs_is_not_explained_by_their_scale():
    """Twelve layers of sigmoids lose it with pixels of 255 and with standardised ones."""
    report = check(setup(12, nn.Sigmoid, 255.0), trial=False)
    found = families(report)
    assert "DAT001" not in (report.findings[0].code, *(g.code for g in report.findings[0].consequences))
    assert not {"FWD001", "FWD003", "BWD001"} & found.get("DAT001", set())
    whole = set(found).union(*found.values())
    assert {"DAT001", "FWD001", "BWD001"} <= whole
    plain = check(setup(12, nn.Sigmoid, 1.0), trial=False)
    assert report.findings[0].code == plain.findings[0].code


def test_units_that_only_the_scale_saturates_hang_under_it():
    """One layer of tanh is flat at inputs of 255, and is not at inputs of 1."""
    report = check(setup(2, nn.Tanh, 255.0), trial=False)
    assert report.findings[0].code == "DAT001"
    assert "FWD004" in families(report)["DAT001"]
    assert not check(setup(2, nn.Tanh, 1.0), trial=False).findings


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_a_root_is_as_grave_as_what_it_explains(scale):
    """Families come in the order of the gravest of each."""
    gravest = [min(g.level.rank for g in (f, *f.consequences)) for f in check(setup(12, nn.Sigmoid, scale)).findings]
    assert gravest == sorted(gravest)
    assert gravest[0] == 0


def test_the_command_line_fails_for_an_error_that_a_warning_explains(tmp_path):
    """Twelve sigmoids end in examples that are alike, a warning; that nothing is left of the signal is an error."""
    file = tmp_path / "deep.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n\ndef setup():\n    torch.manual_seed(0)\n"
        "    parts = [p for _ in range(12) for p in (nn.Linear(32, 32), nn.Sigmoid())]\n"
        "    data = [(torch.randn(64, 32), torch.randint(4, (64,)))]\n"
        "    model = nn.Sequential(*parts, nn.Linear(32, 4))\n"
        "    return {'model': model, 'data': data, 'loss_fn': nn.CrossEntropyLoss()}\n"
    )
    found = CliRunner().invoke(app, ["check", str(file), "--fail-on", "error"])
    assert found.exit_code == 1, found.output
    assert found.output.startswith("Found 1 warning, explaining 2 further findings, 1 of them an error.")


def regression(scale, head):
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    y = x[:, :1].sin() + torch.randn(256, 1)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        model[2].weight.mul_(head)
    data = list(zip((scale * x).split(64), y.split(64), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}


def test_a_first_loss_that_only_the_scale_makes_large_hangs_under_it():
    found = check(regression(3000.0, 1.0), trial=False).findings
    assert (found[0].code, str(found[0].level)) == ("DAT001", "error")
    assert "LOS004" in {f.code for f in found[0].consequences}
    assert not check(regression(1.0, 1.0), trial=False).findings


def test_a_loud_head_is_loud_whatever_the_scale_of_the_inputs():
    found = check(regression(25.0, 300.0), trial=False).findings
    assert found[0].code == "LOS004"
    assert not found[0].consequences
