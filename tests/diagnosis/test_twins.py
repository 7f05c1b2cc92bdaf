"""Losses that hold two outputs against each other: pairs that agree are to cost less than pairs that do not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x, z):
        return F.normalize(self.left(x), dim=1), F.normalize(self.right(z), dim=1)


def contrast(outputs, y):
    return F.cross_entropy(outputs[0] @ outputs[1].T / 0.1, y)


def diagonal(outputs, _):
    return -(outputs[0] @ outputs[1].T / 0.1).log_softmax(1).diagonal().mean()


def ranked(outputs, _):
    return F.softplus(outputs[1] - outputs[0]).mean()


def by_distance(outputs, y):
    return F.cross_entropy(-torch.cdist(outputs[0], outputs[1]), y)


class Bilinear(nn.Module):
    """A matrix that is to be learned lies in between: which pair costs less is its own choice as yet."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(-torch.eye(4))

    def forward(self, outputs, y):
        return F.cross_entropy(outputs[0] @ self.matrix @ outputs[1].T, y)


def found(loss_fn, targets):
    torch.manual_seed(0)
    model, x, z = Towers(), torch.randn(32, 8), torch.randn(32, 8)
    parameters = [*model.parameters(), *(loss_fn.parameters() if isinstance(loss_fn, nn.Module) else [])]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    setup = {"model": model, "data": [([x, z], targets)], "loss_fn": loss_fn, "optimizer": optimizer}
    return [f.code for f in check(setup, select=["OPT006"]).findings]


@pytest.mark.parametrize(("loss_fn", "sign"), [(contrast, 1), (contrast, -1), (diagonal, -1), (by_distance, 1)])
def test_a_loss_that_rewards_pairs_that_do_not_belong_together_is_told(loss_fn, sign):
    assert found(lambda o, y: sign * loss_fn(o, y), torch.arange(32)) == ([] if sign > 0 else ["OPT006"])


@pytest.mark.parametrize(("loss_fn", "targets"), [(ranked, torch.zeros(32)), (Bilinear(), torch.arange(32))])
def test_a_loss_of_two_roles_or_with_a_matrix_between_is_left_alone(loss_fn, targets):
    assert found(loss_fn, targets) == []


def test_targets_that_say_which_pairs_belong_together_are_asked_elsewhere():
    apart = torch.full((32,), -1.0)
    assert found(lambda o, y: F.cosine_embedding_loss(*o, y), apart) == []
