"""A group whose rate is far below another's, inputs that put the rate beyond its limit, and overflow of a format."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import Collector
from steadygrad.diagnosis.evidence.mended_scales import InputScale
from steadygrad.measurement.unit_health import unit_health
from steadygrad.setup import Setup


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batches(scale=1.0):
    x = torch.randn(256, 8) * scale
    y = (x[:, 0] * x[:, 1] > 0).long()
    return list(zip(x.split(32), y.split(32), strict=True))


def network():
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))


@pytest.mark.parametrize(("body", "told"), [(1e-8, True), (1e-5, False), (1e-2, False)])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_body_at_a_rate_far_below_the_heads_is_told(kind, body, told):
    model = network()
    groups = [{"params": model[:4].parameters(), "lr": body}, {"params": model[4:].parameters(), "lr": 1e-2}]
    setup = {"model": model, "data": batches(), "loss_fn": nn.CrossEntropyLoss(), "optimizer": kind(groups)}
    found = check(setup, select=["OPT002"], trial=False).findings
    assert [f.code for f in found] == ["OPT002"] * told
    assert all("far below that of another" in f.message and f.level == "warn" for f in found)


def test_a_small_group_at_such_a_rate_is_left_in_peace():
    model = network()
    groups = [{"params": model[4:].parameters(), "lr": 1e-8}, {"params": model[:4].parameters(), "lr": 1e-2}]
    setup = {"model": model, "data": batches(), "loss_fn": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam(groups)}
    assert check(setup, select=["OPT002"], trial=False).findings == ()


def scale_of(scale, lr):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    setup = {"model": model, "data": batches(scale), "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    return InputScale.collect(Collector(Setup.of(setup)))


def test_the_limit_of_the_rate_goes_with_the_inverse_eigenvalue_of_the_inputs():
    """Scaled by s, curvature and eigenvalue grow by s²: a rate that is too high by less is so by the inputs alone."""
    loud = scale_of(60.0, 0.05)
    assert 1 < loud.over_limit < loud.largest / loud.bound
    assert loud.drives_steps_up
    assert not scale_of(60.0, 1e3).drives_steps_up  # too high for standardised inputs as well
    assert not scale_of(1.0, 0.05).drives_steps_up


class HalfSigmoid(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.first, self.head, self.kind = nn.Linear(8, 16), nn.Linear(16, 2), kind
        nn.init.constant_(self.first.bias, 14.0)

    def forward(self, x):
        e = torch.exp(self.first(x).to(self.kind))
        return self.head((e / (1 + e)).float())


@pytest.mark.parametrize(("kind", "codes"), [(torch.float16, ["NUM001"]), (torch.float32, [])])
def test_what_half_precision_alone_cannot_hold_is_the_formats_fault(kind, codes):
    setup = {"model": HalfSigmoid(kind), "data": batches(), "loss_fn": nn.CrossEntropyLoss()}
    found = check(setup, select=["LOS003", "NUM001"]).findings
    assert [f.code for f in found if f.level != "info"] == codes


def test_units_below_a_threshold_that_none_reaches_are_dead():
    x = torch.randn(64, 4)
    found = unit_health(nn.Threshold(9.0, 0.0), x, -1)
    assert (float(found.dead), float(found.saturated)) == (1.0, 0.0)
    assert float(unit_health(nn.Threshold(9.0, 1.0), x, -1).dead) == 0.0
