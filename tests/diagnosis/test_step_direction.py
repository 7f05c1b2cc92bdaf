"""A step that climbs is told whatever turns it around, and one that goes down is not."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.finding import Level


class Own(torch.optim.Optimizer):
    """Moves by signs, or along the gradient, with weight decay."""

    def __init__(self, parameters, *, way, signs=False, decay=0.0):
        super().__init__(parameters, {"lr": 0.01, "weight_decay": decay})
        self.way, self.signs = way, signs

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                move = p.grad.sign() if self.signs else p.grad
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(self.way * group["lr"] * move)


def hooked(model, way):
    for p in model.parameters():
        p.register_hook(lambda g: -way * g)
    return torch.optim.Adam(model.parameters())


def backwards(model, way):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    optimizer.param_groups[0]["lr"] *= -way
    return optimizer


OPTIMIZERS = {
    "gradient": lambda model, way: Own(model.parameters(), way=way),
    "signs": lambda model, way: Own(model.parameters(), way=way, signs=True),
    "decay": lambda model, way: Own(model.parameters(), way=way, decay=50.0),
    "hooks": hooked,
    "rate": backwards,
}


def climbing(make, way, loss_fn=None):
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))
    data = list(zip(x.split(32), x[:, :3].argmax(1).split(32), strict=True))
    loss_fn = loss_fn or nn.CrossEntropyLoss()
    setup = {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": make(model, way)}
    return check(setup, select=["OPT006"]).findings


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_climbs_is_told(name):
    (found,) = climbing(OPTIMIZERS[name], 1)
    assert found.level == Level.ERROR
    assert "a little along its step" in found.message
    assert climbing(OPTIMIZERS[name], -1) == ()


def test_a_reward_is_climbed():
    def reward(out, y):
        return out.log_softmax(1).gather(1, y[:, None]).mean()

    assert climbing(OPTIMIZERS["gradient"], 1, reward) == ()
    (found,) = climbing(OPTIMIZERS["gradient"], -1, reward)
    assert found.message.startswith("The optimizer descends a loss that rewards wrong predictions")
