"""Ranges of heads behind constant factors, units dead by construction, and warnings that a trial contradicts."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence.head_operator import head_operator


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


X, W = torch.randn(6, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)
SCALE = torch.tensor(2.0, requires_grad=True)
HEADS = {
    "tanh over 8": (lambda: torch.tanh(X) / 8, ("Tanh", -1 / 8, 1 / 8)),
    "minus 3 sigmoids": (lambda: -3 * torch.sigmoid(X), ("Sigmoid", -3.0, 0.0)),
    "a factor that is trained": (lambda: torch.tanh(X) * SCALE, ("Mul", -math.inf, math.inf)),
    "a shift": (lambda: torch.tanh(X) + 1, ("Add", -math.inf, math.inf)),
    "scaled logits": (lambda: X.exp().log() * 2, ("Mul", -math.inf, math.inf)),
    "cosines": (lambda: F.normalize(X) @ F.normalize(W).T / 0.5, ("Cosine", -2.0, 2.0)),
    "cosines by sums": (lambda: F.cosine_similarity(X[:, None], W[None], dim=-1), ("Cosine", -1.0, 1.0)),
    "half normalised": (lambda: F.normalize(X) @ W.T, ("Mm", -math.inf, math.inf)),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_range_of_a_head_holds_all_that_it_gives(name):
    make, (kind, low, high) = HEADS[name]
    head, made = head_operator(make()), make().detach()
    assert (head.name, head.low, head.high) == (kind, pytest.approx(low), pytest.approx(high))
    assert float(made.min()) >= head.low - 1e-6
    assert float(made.max()) <= head.high + 1e-6


class Head(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.body, self.function = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10)), function

    def forward(self, x):
        return self.function(self.body(x))


@pytest.mark.parametrize("times", [0.125, 1.0, 10.0])
def test_bounded_logits_have_the_floor_that_their_width_leaves(times):
    x = torch.randn(512, 8)
    data = [(x, (x @ torch.randn(8, 10)).argmax(1))]
    found = check(
        {"model": Head(lambda h: times * torch.tanh(h)), "data": data, "loss_fn": nn.CrossEntropyLoss()},
        select=["LOS001"],
    )
    floor = math.log(1 + 9 * math.exp(-2 * times))
    loud = [f for f in found.findings if f.code == "LOS001" and f.level != "info"]
    assert [f.measured for f in loud] == ([pytest.approx(floor)] if floor > 0.01 * math.log(10) else [])
    assert [f.level for f in loud] == (["error" if floor > math.log(10) / 2 else "warn"] if loud else [])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_units_that_are_off_by_construction_are_dead(sign):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

        def forward(self, x):
            return self.second(torch.relu(sign * torch.relu(self.first(x))))

    data = [(torch.randn(64, 8), torch.randint(4, (64,)))]
    found = check({"model": Net(), "data": data, "loss_fn": nn.CrossEntropyLoss()}, select=["FWD005"]).findings
    assert [f.measured for f in found] == ([1.0] if sign < 0 else [])


def faint(rate_of):
    """Nine layers that lose seven decades of the signal, on a task that one feature solves."""
    x = torch.randn(512, 8)
    y = (x[:, 0] > 0).long()
    x[:, 0] += 2 * (2 * y - 1)
    layers = [part for a in [8, *[64] * 8] for part in (nn.Linear(a, 64), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 2))
    data = list(zip(x.split(32), y.split(32), strict=True))
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": rate_of(model.parameters())}


def test_a_warning_that_a_network_hardly_learns_gives_way_to_a_trial_that_learned():
    def levels(rate_of, **options):
        torch.manual_seed(0)
        found = check(faint(rate_of), **options).findings
        return {(f.code, str(f.level)) for f in found if f.code == "INI001"}

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=2e-3)

    assert levels(adam) == {("INI001", "info")}
    assert levels(adam, trial=False) == {("INI001", "warn")}
    assert levels(lambda parameters: torch.optim.SGD(parameters, lr=1e-3)) == {("INI001", "warn")}


def test_outputs_that_are_clamped_far_off_are_told_by_the_gradient_that_they_lack():
    model = Head(lambda h: h.mean(1).clamp(1e-6, 1 - 1e-6))
    nn.init.constant_(model.body[2].bias, -5.0)
    data = [(torch.randn(64, 8), (torch.rand(64) < 0.5).float())]
    found = check({"model": model, "data": data, "loss_fn": nn.BCELoss()}).findings
    assert [(f.code, [g.code for g in f.consequences]) for f in found] == [("BWD003", [])]


@pytest.mark.parametrize("decay", [0.5, 1e-3])
def test_weights_that_are_pulled_to_nothing_make_nothing_of_the_inputs(decay):
    made = faint(torch.optim.SGD)
    for layer in made["model"]:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def strong(parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=decay)

    made["optimizer"] = strong(made["model"].parameters())
    found = [f for f in check(made, select=["RUN004"]).findings if f.level != "info"]
    assert ["the same for all examples" in f.message for f in found] == ([True] if decay == 0.5 else [])


@pytest.mark.parametrize(("head", "log_input"), [(torch.exp, True), (torch.exp, False), (lambda h: h, True)])
def test_a_rate_where_its_logarithm_is_wanted_is_told(head, log_input):
    x = torch.randn(256, 8)
    data = [(x, torch.poisson((x[:, 0] / 2 + 1).exp()))]
    model = Head(lambda h: head(h[:, 0]))
    made = {"model": model, "data": data, "loss_fn": nn.PoissonNLLLoss(log_input=log_input)}
    found = [(f.code, f.level) for f in check(made, select=["LOS001"]).findings]
    assert found == ([("LOS001", "warn")] if head is torch.exp and log_input else [])
