"""Losses without a lower bound, and losses that look like them and have one, or that only some examples pull down."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence.unbounded import falls_for_ever


class Coder(nn.Module):
    def __init__(self):
        super().__init__()
        self.code, self.back = network(6), nn.Linear(3, 8)

    def forward(self, x):
        mean, log_variance = self.code(x).chunk(2, 1)
        drawn = mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean
        return self.back(drawn), mean, log_variance


def network(width):
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, width))


def elbow(sign):
    def loss(outputs, x):
        back, mean, log_variance = outputs
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return (back - x).square().sum(1).mean() + sign * divergence

    return Coder(), loss, lambda x: x


def density(sign):
    def loss(outputs, y):
        mean, log_variance = outputs.chunk(2, 1)
        return ((y - mean) ** 2 / log_variance.exp() + sign * log_variance).mean()

    return network(2), loss, lambda x: x[:, :1].sin()


def distance(margin):
    """The same label is near, another one far: as far as can be, or as a margin."""

    def loss(outputs, same):
        square = outputs.square().sum(1)
        apart = F.relu(margin - square) if margin else -square
        return (same * square + (1 - same) * apart).mean()

    return network(4), loss, lambda x: (x[:, 0] > 0).float()


def policy(_):
    """Half of what was done went worse than the rest: its likelihood has no lower bound, and the loss is right."""

    def loss(outputs, y):
        said = outputs.log_softmax(1).gather(1, y[:, :1].long())[:, 0]
        return -(said * y[:, 1]).mean()

    return network(4), loss, lambda x: torch.stack([x[:, 0].abs().clamp(max=3).floor(), x[:, 1]], 1)


def rewarded(sign):
    """What was not rewarded counts for nothing: without its minus the loss makes all that was right unlikely."""

    def loss(outputs, y):
        said = outputs.log_softmax(1).gather(1, y[:, :1].long())[:, 0]
        return sign * -(said * y[:, 1]).mean()

    return network(4), loss, lambda x: torch.stack([x[:, 0].abs().clamp(max=3).floor(), (x[:, 1] > 0).float()], 1)


def likelihood(_):
    return network(3), F.cross_entropy, lambda x: x[:, :3].argmax(1)


def found(made):
    torch.manual_seed(0)
    model, loss, targets = made()
    x = torch.randn(512, 8)
    data = list(zip(x.split(32), targets(x).split(32), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    setup = {"model": model, "data": data, "loss_fn": loss, "optimizer": optimizer}
    return [f.code for f in check(setup, select=["LOS009"]).findings]


@pytest.mark.parametrize("made", [lambda: elbow(-1), lambda: density(-1), lambda: distance(None), lambda: rewarded(-1)])
def test_a_loss_that_falls_for_ever_is_told(made):
    assert found(made) == ["LOS009"]


@pytest.mark.parametrize(
    "made",
    [
        *(lambda: elbow(1), lambda: density(1), lambda: distance(2.0)),
        *(lambda: policy(1), lambda: rewarded(1), lambda: likelihood(1)),
    ],
)
def test_a_loss_that_has_a_bound_or_is_a_policys_is_left_alone(made):
    assert found(made) == []


@pytest.mark.parametrize(
    ("loss", "linear", "square"),
    [
        (lambda t: -t, True, False),
        (lambda t: -(t**2), True, True),
        (lambda t: -torch.log(t), False, False),
        (lambda t: F.softplus(-t), False, False),
        (lambda t: t**2 - 1e3 * t, False, False),
    ],
)
def test_how_a_loss_falls_is_known_by_what_a_doubling_takes_off(loss, linear, square):
    losses = loss(2.0 ** torch.arange(11, dtype=torch.float64)).tolist()
    assert (falls_for_ever(losses), falls_for_ever(losses, 3.8)) == (linear, square)
