"""Every table fits into the terminal, whatever its width: columns go, paths break at their dots, no number is cut."""

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad import theory
from steadygrad.report import comparison, explanation


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleDict({"downsampling_convolutions": nn.Sequential(nn.Linear(8, 16), nn.ReLU())})
        self.classification_head = nn.Linear(16, 4)

    def forward(self, x):
        return self.classification_head(self.stages["downsampling_convolutions"](x))


torch.manual_seed(0)
MODEL, X = Deep(), torch.randn(32, 8)
PREDICTED, MEASURED = sg.predict(MODEL, (32, 8)), sg.measure(MODEL, X)
PLAN = sg.init.plan(MODEL, X)
MLP = theory.mlp(depth=30, width=64, activation="tanh", init="he-normal")
PRINTED = {
    "predicted": PREDICTED.text,
    "measured": MEASURED.text,
    "compared": lambda width: comparison.render(PREDICTED.compare(MEASURED), width=width),
    "planned": lambda width: PLAN.text(width=width),
    "explained": lambda width: explanation.render(MLP, title="an MLP", width=width),
}


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("name", PRINTED)
def test_a_table_fits_and_cuts_no_number(name, width):
    shown = PRINTED[name](width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown


@pytest.mark.parametrize("name", ["predicted", "measured", "compared"])
def test_a_path_breaks_behind_a_dot(name):
    lines = [line.split(" ")[0] for line in PRINTED[name](width=60).splitlines()]
    at = lines.index("stages.")
    assert lines[at + 1].startswith("downsampling")
