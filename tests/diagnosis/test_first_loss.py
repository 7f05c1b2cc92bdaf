"""A first loss that is far off is no defect where steps of training make up for it at once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check


class Cosines(nn.Module):
    """Classes by cosines over a low temperature."""

    def __init__(self, scale):
        super().__init__()
        self.body, self.proxies = nn.Linear(16, 32), nn.Parameter(torch.randn(6, 32))
        self.scale = scale

    def forward(self, x):
        return self.scale * F.linear(F.normalize(torch.relu(self.body(x))), F.normalize(self.proxies))


def setup(model, optimizer, **options):
    y = torch.arange(6).repeat(128)[torch.randperm(768)]
    x = 3 * torch.randn(6, 16)[y] / 4 + torch.randn(768, 16) / 4
    made = optimizer(model.parameters(), **options)
    return {
        "model": model,
        "data": list(zip(x.split(32), y.split(32), strict=True)),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": made,
    }


@pytest.mark.parametrize("trial", [False, True])
def test_a_temperature_that_training_copes_with_is_worth_knowing_and_no_more(trial):
    torch.manual_seed(0)
    findings = check(setup(Cosines(150.0), torch.optim.Adam, lr=2e-3), trial=trial).findings
    assert [str(f.level) for f in findings if f.code == "LOS004"] == ["info"]
    assert all(f.level == "info" for f in findings)


@pytest.mark.parametrize(("lr", "level"), [(0.1, "error"), (1e-9, "error")])
def test_a_loud_head_that_steps_throw_about_or_leave_as_it_is_is_an_error(lr, level):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 6))
    nn.init.normal_(model[2].weight, std=12.0)
    made = setup(model, torch.optim.SGD, lr=lr)
    made["data"] = [(torch.randn_like(x), y) for x, y in made["data"]]  # of which nothing is learned in 40 steps
    (found,) = check(made, select=["LOS004"]).findings
    assert str(found.level) == level
    assert "steps on a copy" in found.message


def test_without_an_optimizer_nothing_makes_up_for_it():
    torch.manual_seed(0)
    made = setup(Cosines(150.0), torch.optim.Adam, lr=2e-3)
    del made["optimizer"]
    (found,) = check(made, select=["LOS004"]).findings
    assert str(found.level) == "error"
