"""The code that a fix gives for drawing weights again runs, and ends the finding."""

import copy

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.redraw import redraw


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(self.embedding(x)).mean(1))


def halves():
    half = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    return nn.ModuleList([half, copy.deepcopy(half)])


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = halves()

    def forward(self, x):
        return sum(part(x) for part in self.parts) / 2


def constant():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    for p in model.parameters():
        nn.init.constant_(p, 0.1)
    return model


@pytest.mark.parametrize(
    ("code", "model", "inputs"),
    [
        ("INI003", Attention, lambda: torch.randint(20, (64, 6))),
        ("INI003", Mean, lambda: torch.randn(64, 8)),
        ("INI002", constant, lambda: torch.randn(64, 8)),
    ],
)
def test_the_code_of_the_fix_runs_and_ends_the_finding(code, model, inputs):
    torch.manual_seed(0)
    net = model()
    setup = {"model": net, "data": [(inputs(), torch.randint(5, (64,)))], "loss_fn": nn.CrossEntropyLoss()}
    (found,) = check(setup, select=[code]).findings
    exec(found.fix_code, {"model": net})
    assert check(setup, select=[code]).findings == ()


def test_no_code_is_given_where_it_would_not_run_or_change_nothing():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 2))

    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert redraw(nn.Sequential(Own(), nn.Linear(2, 2)), ["0", "1"]) == ""
    assert redraw(nn.Sequential(normed), ["0"]) == ""
