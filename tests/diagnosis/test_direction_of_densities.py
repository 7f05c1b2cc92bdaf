"""Heads of several numbers a target, and outputs of several tensors: which way their loss gets better."""

import pytest
import torch
from torch import distributions as D
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check


def mixture(o, y):
    parts = D.Normal(o[:, 2:4], o[:, 4:].exp()).log_prob(y) + F.log_softmax(o[:, :2], 1)
    return -parts.logsumexp(1).mean()


def pinball(o, y):
    q = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(q * (y - o), (q - 1) * (y - o)).mean()


DENSITIES = {
    "normal": (2, lambda o, y: -D.Normal(o[:, :1], F.softplus(o[:, 1:]) + 0.1).log_prob(y).mean()),
    "laplace": (2, lambda o, y: -D.Laplace(o[:, :1], F.softplus(o[:, 1:]) + 0.1).log_prob(y).mean()),
    "student": (3, lambda o, y: -D.StudentT(F.softplus(o[:, :1]) + 2, o[:, 1:2], o[:, 2:].exp()).log_prob(y).mean()),
    "mixture": (6, mixture),
    "quantiles": (3, pinball),
}


def found(head, loss_fn, targets):
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), head)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    setup = {"model": model, "data": [(x, targets(x))], "loss_fn": loss_fn, "optimizer": optimizer}
    return [f.code for f in check(setup, select=["OPT006"]).findings]


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_that_is_not_negated_falls_as_predictions_get_worse(name):
    width, loss_fn = DENSITIES[name]

    def skewed(x):
        return x[:, :1].exp()

    assert found(nn.Linear(8, width), loss_fn, skewed) == []
    assert found(nn.Linear(8, width), lambda o, y: -loss_fn(o, y), skewed) == ["OPT006"]


@pytest.mark.parametrize("density", [D.Gamma, D.Beta])
def test_a_density_whose_parameters_are_not_in_its_targets_unit_is_left_alone(density):
    def loss_fn(o, y):
        return -density(F.softplus(o[:, :1]) + 0.1, F.softplus(o[:, 1:]) + 0.1).log_prob(y).mean()

    unit = density is D.Beta
    assert found(nn.Linear(8, 2), loss_fn, lambda x: x[:, :1].sigmoid() if unit else x[:, :1].exp() + 0.1) == []


class Coder(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.back = nn.Linear(8, 2), nn.Linear(2, 4)

    def forward(self, h):
        z = self.mean(h)
        return {"output": self.back(z), "code": z}


@pytest.mark.parametrize("sign", [1, -1])
def test_of_several_outputs_those_that_have_the_form_of_the_targets_say_it(sign):
    def loss_fn(o, x):
        return sign * F.mse_loss(o["output"], x) + 0.01 * o["code"].square().mean()

    assert found(Coder(), loss_fn, lambda x: x) == ([] if sign > 0 else ["OPT006"])
