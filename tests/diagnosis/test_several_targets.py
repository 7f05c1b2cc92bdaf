"""Targets that are several tensors, as of a model with a head for each of several tasks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.errors import SetupError
from steadygrad.measurement.constant_guess import constant_guess
from steadygrad.prediction import predict


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Heads(nn.Module):
    """A class and two numbers."""

    def __init__(self, *, named, kind=lambda z: z):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 32), nn.ReLU())
        self.kind, self.place, self.of_kind, self.named = nn.Linear(32, 3), nn.Linear(32, 2), kind, named

    def forward(self, x):
        h = self.body(x)
        found = {"kind": self.of_kind(self.kind(h)), "place": self.place(h)}
        return found if self.named else tuple(found.values())


def both(outputs, targets):
    if isinstance(outputs, dict):
        return F.cross_entropy(outputs["kind"], targets["kind"]) + F.mse_loss(outputs["place"], targets["place"])
    return F.cross_entropy(outputs[0], targets[0]) + F.mse_loss(outputs[1], targets[1])


def summed(outputs, targets):
    return len(targets["kind"]) * both(outputs, targets)


def loud(*, named=True, loss_fn=both, change=lambda kind, place: (kind, place), rate=3e-3, descend=None, **more):
    model, x = Heads(named=named, **more), torch.randn(512, 6)
    kind, place = change(x[:, :3].argmax(1), torch.stack([x[:, 0] * x[:, 1], x[:, 4]], 1))
    pairs = zip(kind.split(32), place.split(32), strict=True)
    targets = [{"place": p, "kind": k} if named else (k, p) for k, p in pairs]
    optimizer = (descend or torch.optim.Adam)(model.parameters(), rate)
    data = list(zip(x.split(32), targets, strict=True))
    setup = {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer}
    return [f.code for f in check(setup).findings if f.level != "info"]


@pytest.mark.parametrize("named", [True, False])
def test_a_sound_setup_of_several_targets_is_left_in_peace(named):
    assert loud(named=named) == []


FAULTS = {
    "DAT002": {"change": lambda kind, place: (kind, 300 * place + 700)},
    "DAT003": {"change": lambda kind, place: (kind, place.where(place < 2, torch.tensor(float("nan"))))},
    "DAT005": {"change": lambda kind, place: (kind + 1, place)},
    "LOS001": {"kind": lambda z: z.softmax(1)},
    "LOS008": {"loss_fn": summed, "descend": torch.optim.SGD, "rate": 0.1},
    "OPT001": {"rate": 1.0},
    "OPT006": {"loss_fn": lambda outputs, targets: -both(outputs, targets)},
    "RUN004": {"change": lambda kind, place: (kind[torch.randperm(512)], place[torch.randperm(512)])},
}


@pytest.mark.parametrize("code", FAULTS)
def test_faults_are_found_as_of_one_target(code):
    assert loud(**FAULTS[code])[:1] == [code]


def test_outputs_have_a_constant_each():
    pairs = [(torch.randn(300, 6), (torch.arange(300) % 3, torch.randn(300, 2)))]
    (loss,) = constant_guess(Heads(named=False), pairs, both)
    y = pairs[0][1][1]
    assert loss == pytest.approx(float(torch.tensor(3.0).log() + y.var(0, correction=0).mean()), rel=1e-5)


def test_outputs_that_are_held_against_each_other_alone_have_none():
    pairs = [(torch.randn(300, 6), torch.zeros(300))]

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(6, 3)

        def forward(self, x):
            return self.f(x), self.f(x + 0.1)

    assert constant_guess(Views(), pairs, lambda outputs, _: -F.cosine_similarity(*outputs).mean()) == ()


def test_an_output_that_a_penalty_alone_takes_leaves_none():
    pairs = [(torch.randn(300, 6), (torch.arange(300) % 3, torch.randn(300, 2)))]

    def penalized(outputs, targets):
        return F.cross_entropy(outputs[0], targets[0]) + outputs[1].square().mean()

    assert constant_guess(Heads(named=False), pairs, both)
    assert constant_guess(Heads(named=False), pairs, penalized) == ()


def test_an_output_that_the_loss_does_not_take_is_left_out():
    pairs = [(torch.randn(300, 6), (torch.arange(300) % 3, torch.randn(300, 2)))]
    (loss,) = constant_guess(Heads(named=False), pairs, lambda o, y: F.cross_entropy(o[0], y[0]) + 0 * o[1].sum())
    assert loss == pytest.approx(float(torch.tensor(3.0).log()), rel=1e-5)


@pytest.mark.parametrize("targets", [(torch.zeros(4), torch.zeros(3)), [1, 2, 3, 4]])
def test_each_tensor_has_a_row_an_example(targets):
    with pytest.raises(SetupError, match="targets"):
        check({"model": nn.Linear(2, 1), "data": [(torch.zeros(4, 2), targets)], "loss_fn": F.mse_loss})


def test_a_prediction_of_data_takes_them():
    data = [(torch.randn(8, 6), {"kind": torch.zeros(8, dtype=torch.long), "place": torch.zeros(8, 2)})] * 3
    assert len(predict(Heads(named=True), data, loss_fn=both).layers) == 4
