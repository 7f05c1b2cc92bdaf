"""Layers whose gain cannot be known are named in a note, and end nothing."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def report_on(act: nn.Module, fill=None):
    model = nn.Sequential(nn.Linear(8, 16), act, nn.Linear(16, 4))
    if fill is not None:
        nn.init.constant_(model[0].weight, fill)
    data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    return check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}, select=["INI"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_have_no_gain(value):
    report = report_on(nn.ReLU(), value)
    assert report.findings == ()
    assert "The weights of '0' are not all finite, so their gain was not looked at." in report.notes


def test_weights_without_spread_have_no_gain():
    assert "The weights of '0' are all equal, so they have no gain to look at." in report_on(nn.ReLU(), 0.5).notes


def test_an_activation_that_takes_single_precision_alone_is_named():
    class Single(nn.Tanh):
        def forward(self, x):
            assert x.dtype == torch.float32
            return x.tanh()

    report = report_on(Single())
    assert report.findings == ()
    assert "Single cannot be run on numbers in double precision, so the gain before it is not known." in report.notes
