"""What is said of an epsilon that is larger than the gradients takes the finding away."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check


def setup_of(scale, eps):
    torch.manual_seed(0)
    data = [(torch.randn(64, 8), torch.randn(64, 1)) for _ in range(4)]
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=eps)
    loss = nn.MSELoss()
    return {"model": model, "data": data, "loss_fn": lambda z, y: scale * loss(z, y), "optimizer": optimizer}


def found(setup):
    return check(setup, select=["OPT004"], trial=False).findings


@pytest.mark.parametrize(("scale", "eps"), [(1.0, 1.0), (1e-6, 1e-3), (1e-10, 1e-8), (1e-14, 1e-10)])
def test_the_code_takes_the_finding_away(scale, eps):
    setup = setup_of(scale, eps)
    (finding,) = found(setup)
    exec(finding.fix_code, {"optimizer": setup["optimizer"]})
    assert setup["optimizer"].param_groups[0]["eps"] < eps
    assert not found(setup)


def test_an_epsilon_as_published_is_not_blamed_alone():
    assert found(setup_of(1.0, 1.0))[0].fix.startswith("Set eps")
    assert found(setup_of(1e-10, 1e-8))[0].fix.startswith("Look for what makes gradients so small")


def test_no_epsilon_mends_gradients_whose_squares_are_zero():
    (finding,) = found(setup_of(1e-20, 1e-8))
    assert not finding.fix_code
    assert "squares are 0" in finding.fix
