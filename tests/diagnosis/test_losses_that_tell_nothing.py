"""Where the size of a loss does not tell what is learned, its course is not judged."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.measurement.loss_draws import draws_by_outputs
from steadygrad.measurement.loss_slope import loss_slope, slope_of_weights


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net(inputs=8, out=4):
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, out))


def honest(z, y):
    return F.cross_entropy(z, y)


def over_its_size(z, y):
    loss = F.cross_entropy(z, y)
    return loss / loss.detach()


def by_ratio(z, y):
    """A policy gradient of actions drawn by chance, weighted by how likely the policy is to take them."""
    logs = z.log_softmax(1)[:, 0]
    reward = (y == 0).float() - 0.25
    return -(4 * logs.detach().exp() * logs * reward).mean()


def focused(z, y):
    loss = F.cross_entropy(z, y, reduction="none")
    return ((1 - (-loss).exp()).detach() ** 2 * loss).mean()


LOSSES = {
    "cross_entropy": honest,
    "l1": lambda z, y: (z[:, 0] - y).abs().mean(),
    "hinge": lambda z, y: F.multi_margin_loss(z, y),
    "far": lambda z, y: (z[:, 0] - 1e3 * y).square().mean(),
    "sharp": lambda z, y: F.cross_entropy(F.normalize(z) / 1e-2, y),
    "noisy": lambda z, y: F.cross_entropy(F.dropout(z), y),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_as_its_gradient_says(name):
    z, y = torch.randn(64, 4), torch.randint(4, (64,))
    # Of curves the symmetric difference leaves the third derivative; of kinks a few entries of all.
    assert loss_slope(LOSSES[name], z, y) == pytest.approx(1, abs=0.02)


def test_what_is_cut_from_the_graph_moves_the_loss_and_not_its_gradient():
    z, y = torch.randn(64, 4), torch.randint(4, (64,))
    assert loss_slope(over_its_size, z, y) == pytest.approx(0, abs=1e-3)
    assert loss_slope(by_ratio, z, y) < 0.5
    assert loss_slope(focused, z, y) > 1  # weights that fall with the loss make it fall faster


@pytest.mark.parametrize("loss", [lambda z, y: z.sum() * 0, lambda z, y: z.detach().sum(), lambda z, y: z.sum() + 1e12])
def test_where_nothing_moves_the_slope_is_unknown(loss):
    assert math.isnan(loss_slope(loss, torch.randn(8, 4), None))


def sampled(z, y):
    """A policy gradient of actions that are drawn in the loss, against those that are likeliest."""
    action = torch.distributions.Categorical(logits=z.detach()).sample()
    reward = (action == y).float() - (z.argmax(1) == y).float()
    return -(reward * z.log_softmax(1).gather(1, action[:, None]).squeeze(1)).mean()


def noise_contrast(z, y):
    """Negatives drawn by how frequent they are, whatever the model says."""
    drawn = torch.ones(4).expand(len(z), 4).multinomial(1)
    return -(F.logsigmoid(z.gather(1, y[:, None])) + F.logsigmoid(-z.gather(1, drawn))).mean()


def normal_draw(z, y):
    value = torch.distributions.Normal(z[:, 0], 1.0).sample()
    return -(torch.distributions.Normal(z[:, 0], 1.0).log_prob(value) * (value - y)).mean()


@pytest.mark.parametrize(
    ("loss", "draws"),
    [(sampled, True), (normal_draw, True), (noise_contrast, False), (LOSSES["noisy"], False), (honest, False)],
)
def test_a_loss_draws_by_what_the_model_says(loss, draws):
    assert draws_by_outputs(loss, torch.zeros(64, 4), torch.randint(4, (64,))) == draws


def judged(loss, y):
    x, model = torch.randn(len(y), 8), net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    data = list(zip(x.split(64), y.split(64), strict=True))
    setup = {"model": model, "data": data, "loss_fn": loss, "optimizer": optimizer}
    report = check(setup, select=["RUN004"])
    return [f.code for f in report.findings], any("does not tell what is learned" in note for note in report.notes)


@pytest.mark.parametrize("loss", [over_its_size, by_ratio, sampled])
def test_a_run_is_not_judged_by_a_loss_that_does_not_tell(loss):
    assert judged(loss, torch.randint(4, (512,))) == ([], True)


def test_one_by_a_loss_that_falls_with_its_gradient_is():
    assert judged(honest, torch.randint(4, (512,))) == (["RUN004"], False)


class Refused(Exception):
    """What no library raises."""


def of_training_alone(z, y):
    """Warns each time, and refuses outputs without a graph."""
    warnings.warn("odd outputs", stacklevel=1)
    if not z.requires_grad:
        raise Refused
    return F.cross_entropy(z, y)


def test_whatever_a_loss_raises_when_asked_how_it_falls_the_check_goes_on():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert judged(of_training_alone, torch.randint(4, (512,)))[1] is False
    assert len(seen) <= 1


def critics(rate):
    """An actor along whose critic's answer the loss is taken, which grows as the critic learns."""
    actor, critic = net(4, 1), net(5, 1)
    x = torch.randn(512, 4)
    optimizer, other = torch.optim.SGD(actor.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), rate)

    def step(model, inputs, optimizer):
        other.zero_grad()
        value = critic(torch.cat([inputs, model(inputs).detach()], 1))
        (value + 100).square().mean().backward()
        other.step()
        optimizer.zero_grad()
        (-critic(torch.cat([inputs, model(inputs)], 1)).mean()).backward()
        optimizer.step()

    return {
        "model": actor,
        "data": list(zip(x.split(64), x.split(64), strict=True)),
        "loss_fn": lambda z, y: -critic(torch.cat([y, z], 1)).mean(),
        "optimizer": optimizer,
        "step": step,
    }


def test_a_loss_that_rises_as_another_network_learns_does_not_diverge():
    found = check(critics(1e-2), select=["RUN"]).findings
    assert not found


def test_one_that_stops_being_a_number_does_whoever_learns():
    found = check(critics(math.inf), select=["RUN"]).findings
    assert [f.code for f in found] == ["RUN002"]


class Codebook(nn.Module):
    """Each code goes on as the nearest of a few entries, and the gradient goes past that (van den Oord et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.code = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.back = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16))
        self.entries = nn.Parameter(0.3 * torch.randn(16, 4))

    def forward(self, x):
        z = self.code(x)
        q = self.entries[torch.cdist(z, self.entries).argmin(1)]
        self.commitment = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return self.back(z + (q - z).detach())


def test_a_loss_that_steps_along_its_gradient_raise_is_no_divergence():
    torch.manual_seed(0)
    x = torch.tanh(torch.randn(1024, 4) @ torch.randn(4, 16))
    model = Codebook()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    data = [(part, part) for part in x.split(64)]
    found = check(
        {
            "model": model,
            "data": data,
            "loss_fn": lambda y, t: F.mse_loss(y, t) + model.commitment,
            "optimizer": optimizer,
        }
    )
    assert [f.code for f in found.findings if f.level != "info"] == []
    assert any("against its gradient" in note for note in found.notes)


def test_the_slope_along_the_weights_is_that_of_a_true_gradient_and_of_no_other():
    torch.manual_seed(0)
    x = torch.randn(64, 16)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 1))
    assert slope_of_weights(model, x, x[:, :1], nn.MSELoss()) == pytest.approx(1, abs=0.02)

    def halved(y, t):
        return F.mse_loss(y, t) + F.mse_loss(y.detach(), t)

    # Half of the loss is cut from the graph, and falls as fast as the other half.
    assert slope_of_weights(model, x, x[:, :1], halved) == pytest.approx(2, abs=0.04)


def test_a_step_is_measured_by_what_has_a_gradient():
    """Weights a million times as large behind units that are dead have no part in it: the loss bends along a bias."""
    bias, dead = torch.tensor([3.0, -4.0]), torch.full((64,), 1e6)

    def loss(held, y):
        return F.cross_entropy(held["bias"].expand(len(y), 2) + 0 * held["dead"].sum(), y)

    y = torch.arange(8) % 2
    assert loss_slope(loss, {"bias": bias, "dead": dead}, y) == pytest.approx(1, abs=0.02)
