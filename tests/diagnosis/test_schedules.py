"""Schedules that the setup's own step turns: what never raises the rate, and warm-ups that are right."""

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from steadygrad.diagnosis import check
from steadygrad.measurement.schedules import rates_ahead, rates_times, schedulers_of


def classes(rate, schedule, optimizer=torch.optim.Adam):
    """Six groups of points, a small network, and a step that turns a schedule."""
    torch.manual_seed(0)
    y = torch.randint(6, (512,))
    x = 1.5 * torch.randn(6, 16)[y] + torch.randn(512, 16)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6))
    stepped = optimizer(model.parameters(), lr=rate)
    scheduler = schedule(stepped)

    def step(model, x, y, loss_fn, optimizer):
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
        scheduler.step()

    data = list(zip(x.split(32), y.split(32), strict=True))
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": stepped, "step": step}


def times(factor):
    return lambda optimizer: schedulers.LambdaLR(optimizer, factor)


def warmed(optimizer):
    parts = [schedulers.LinearLR(optimizer, 0.05, total_iters=20), schedulers.CosineAnnealingLR(optimizer, 400)]
    return schedulers.SequentialLR(optimizer, parts, milestones=[20])


BROKEN = {
    "whole numbers": (1e-2, times(lambda step: min(1, step // 1000)), "OPT005"),
    "times nothing": (1e-2, times(lambda step: step / 100 * max(0, -step)), "OPT005"),
    "never whole": (1e-2, times(lambda step: min(1, (step + 1) / 1e6)), "OPT002"),
    "fallen away": (1e-2, lambda o: schedulers.ExponentialLR(o, 0.5), "OPT002"),
    "raised too high": (30.0, times(lambda step: min(1, (step + 1) / 60)), "OPT001"),
}
SOUND = {
    "from zero": times(lambda step: min(1, step / 50)),
    "in parts": warmed,
    "long": times(lambda step: min(1, (step + 1) / 30_000)),
    "falls to nothing": lambda o: schedulers.LinearLR(o, 1.0, 0.0, total_iters=200),
    "one cycle": lambda o: schedulers.OneCycleLR(o, 1e-2, total_steps=1000),
}


def loud(setup):
    found = check(setup, select=["OPT", "RUN"]).findings
    return [f.code for f in found if f.level != "info"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_schedule_that_trains_nothing_is_told(name):
    rate, schedule, code = BROKEN[name]
    assert loud(classes(rate, schedule))[:1] == [code]


@pytest.mark.parametrize("name", SOUND)
def test_a_schedule_that_is_right_is_left_in_peace_and_as_it_was(name):
    setup = classes(1e-2, SOUND[name])
    rate = setup["optimizer"].param_groups[0]["lr"]
    assert loud(setup) == []
    (scheduler,) = schedulers_of(setup["step"], setup["optimizer"])
    assert (setup["optimizer"].param_groups[0]["lr"], scheduler.last_epoch) == (rate, 0)


def test_rates_ahead_are_those_of_the_schedule():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.3)
    ahead = rates_ahead([schedulers.CosineAnnealingLR(optimizer, 10)], optimizer, turns=10, seconds=1.0)
    expected = [0.15 * (1 + math.cos(math.pi * step / 10)) for step in range(11)]
    # The recursion multiplies ten ratios, each rounded in double precision.
    assert list(ahead) == pytest.approx(expected, abs=1e-12)


def test_a_rate_that_each_step_sets_anew_is_multiplied_while_it_steps():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with rates_times(optimizer, 10.0, each_step=True):
        for rate in (0.1, 0.2):
            optimizer.param_groups[0]["lr"] = rate
            weight.grad = torch.ones(1)
            optimizer.step()
    assert (-weight.item(), optimizer.param_groups[0]["lr"]) == (pytest.approx(3.0), 0.2)
