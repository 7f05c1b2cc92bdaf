"""An optimizer of the user's own class in a plain loop: what its zero_grad leaves, and where its step clips."""

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import Collector, OwnOptimizer
from steadygrad.measurement.trial import train
from steadygrad.setup import Setup

SGD, norm_, value_ = torch.optim.SGD, nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_


class Forgetful(SGD):
    def zero_grad(self, set_to_none=True):
        pass


class ForgetsTheHead(SGD):
    """It has two groups and zeroes the first."""

    def zero_grad(self, set_to_none=True):
        for p in self.param_groups[0]["params"][:2]:
            p.grad = None


class Late(SGD):
    def step(self, closure=None):
        found = super().step(closure)
        norm_(self.param_groups[0]["params"], 0.1)
        return found


class LateByValue(torch.optim.Adam):
    def step(self, closure=None):
        found = super().step(closure)
        value_(self.param_groups[0]["params"], 0.1)
        return found


class Early(SGD):
    def step(self, closure=None):
        norm_(self.param_groups[0]["params"], 0.1)
        return super().step(closure)


class EarlyAndLate(Early):
    """What it looks at afterwards is only looked at: each step was clipped before."""

    def step(self, closure=None):
        found = super().step(closure)
        norm_(self.param_groups[0]["params"], 0.1)
        return found


class Delegating(SGD):
    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)


class MemoryInGradients(SGD):
    """Momentum by what is left of a gradient."""

    def zero_grad(self, set_to_none=True):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad.mul_(0.9)


class EveryOther(SGD):
    """Gathers the gradients of two backward passes for a step."""

    calls = 0

    def zero_grad(self, set_to_none=True):
        if self.calls % 2 == 0:
            super().zero_grad(set_to_none)

    def step(self, closure=None):
        self.calls += 1
        return super().step(closure) if self.calls % 2 == 0 else None


def setup(kind):
    torch.manual_seed(0)
    x = torch.randn(192, 8)
    data = list(zip(x.split(16), (3 * x[:, :1]).split(16), strict=True))
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = kind(model.parameters(), lr=0.01)
    return {"model": model, "data": data, "loss_fn": nn.MSELoss(), "optimizer": optimizer}


def loud(kind, **options):
    found = check(setup(kind), select=["OPT008", "OPT009"], trial=False, **options).findings
    return [(f.code, str(f.level)) for f in found if f.level != "info"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Forgetful, [("OPT009", "error")]),
        (ForgetsTheHead, [("OPT009", "warn")]),
        (Late, [("OPT008", "warn")]),
        (LateByValue, [("OPT008", "warn")]),
    ],
)
def test_what_an_optimizer_does_wrong_in_a_plain_loop_is_told(kind, told):
    assert loud(kind) == told


@pytest.mark.parametrize("kind", [SGD, Early, EarlyAndLate, Delegating, MemoryInGradients, EveryOther])
def test_one_that_does_it_right_is_left_in_peace(kind):
    assert loud(kind) == []


def test_what_stands_is_the_very_gradient_of_the_first_step():
    made = setup(Forgetful)
    found = OwnOptimizer.collect(Collector(Setup.of(made)))
    inputs, targets = made["data"][0]
    parameters = list(made["model"].parameters())
    gradients = torch.autograd.grad(made["loss_fn"](made["model"](inputs), targets), parameters)
    # Two passes over the same numbers in the same order.
    assert found.standing == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-6)
    assert found.standing_numbers == found.numbers == sum(p.numel() for p in parameters)


def test_a_trial_goes_as_the_plain_loop_does():
    """Without a memory of gradients x[t+1] = x[t] - η Σ g: the loop's own losses, step by step."""
    made, own = setup(Forgetful), setup(Forgetful)
    trial = train(made["model"], made["data"], made["loss_fn"], made["optimizer"], steps=12)
    losses = []
    for inputs, targets in own["data"]:
        own["optimizer"].zero_grad()
        loss = own["loss_fn"](own["model"](inputs), targets)
        loss.backward()
        own["optimizer"].step()
        losses.append(float(loss.detach()))
    assert list(trial.losses) == losses
