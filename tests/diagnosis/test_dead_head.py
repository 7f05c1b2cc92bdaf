"""A head of one ReLU unit that is dead from the start: that it ends in a ReLU comes first."""

import torch
from torch import nn

import steadygrad as sg


def test_a_dead_head_is_the_doing_of_its_activation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())
    with torch.no_grad():
        model[2].weight.copy_(-model[2].weight.abs())
        model[2].bias.fill_(-0.1)
    x = torch.randn(256, 8)
    data = list(zip(x.split(32), torch.randn(256, 1).split(32), strict=True))
    setup = {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": torch.optim.Adam(model.parameters())}
    (first, *others) = sg.check(setup).findings
    assert first.code == "LOS005"
    assert not others
    assert "FWD005" in {finding.code for finding in first.consequences}
