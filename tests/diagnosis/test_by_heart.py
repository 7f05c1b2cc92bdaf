"""What a trial learns of its own batches only, and what a penalty makes of outputs, is no progress."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import ByHeart
from steadygrad.diagnosis.runs.outcome import Course


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def loud(model, loss_fn, x, y, rate=3e-3, step=None):
    optimizer = torch.optim.Adam(model.parameters(), rate)
    data = list(zip(x.split(32), y.split(32), strict=True))
    setup = {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer, "step": step}
    return [f.code for f in check(setup).findings if f.level != "info"]


def classes(x):
    return x[:, :4].argmax(1), F.cross_entropy, 4


def numbers(x):
    return x[:, :1].sin() + x[:, 1:2], F.mse_loss, 1


def net(out, *, norm=False):
    return nn.Sequential(nn.Linear(8, 64), *([nn.BatchNorm1d(64)] if norm else []), nn.ReLU(), nn.Linear(64, out))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("task", [classes, numbers])
def test_targets_shuffled_against_inputs_are_learned_by_heart_and_no_others(task, norm):
    x = torch.randn(512, 8)
    y, loss_fn, out = task(x)
    assert loud(net(out, norm=norm), loss_fn, x, y) == []
    assert loud(net(out, norm=norm), loss_fn, x, y[torch.randperm(len(y))]) == ["RUN004"]


def test_the_trial_is_made_by_the_step_of_the_user():
    def step(model, inputs, targets, optimizer):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    x = torch.randn(512, 8)
    y, loss_fn, out = classes(x)
    assert loud(net(out), loss_fn, x, y[torch.randperm(len(y))], step=step) == ["RUN004"]


def test_a_rule_that_few_examples_hardly_show_is_not_taken_for_none():
    x = torch.randn(512, 8)
    y = 0.5 * x[:, :1] + torch.randn(512, 1)  # a fifth of the variance
    assert loud(net(1), F.mse_loss, x, y) == []


def test_unseen_batches_that_stand_below_their_constant_once_were_not_learned_by_heart():
    seen, constant = (1.0,) * 5, (2.0,) * 5
    above, below = (2.1, 2.2, 2.1, 2.2, 2.1), (1.9, 1.95, 1.9, 1.95, 1.9)

    def heart(*unseen):
        return ByHeart(seen=seen, seen_constant=constant, unseen=unseen, unseen_constant=constant)

    assert heart(above, above).is_all
    assert not heart(below, above).is_all
    assert not heart((2.1, 4.0, 0.5, 4.0, 2.0), above).is_all  # these may as well lie a tenth below
    assert not ByHeart().is_all


@pytest.mark.parametrize(("penalty", "codes"), [(0.5, ["RUN004"]), (1e-5, [])])
def test_a_penalty_that_makes_outputs_a_constant_is_all_that_falls(penalty, codes):
    x = torch.randn(512, 8)
    y, loss_fn, out = classes(x)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, out))

    def penalized(outputs, targets):
        return loss_fn(outputs, targets) + penalty * sum(p.square().sum() for p in model.parameters())

    assert loud(model, penalized, x, y) == codes


def test_rare_events_make_the_loss_and_most_batches_have_none_of_them():
    start, constant = (0.7,) * 32, (0.02,) * 24 + (0.3,) * 8

    def run(none, some):
        return Course(losses=(0.1,) * 200, start=start, end=(none,) * 24 + (some,) * 8, constant=constant)

    assert run(
        0.025, 0.2
    ).is_better()  # the mean falls from 0.09 to 0.07, though in 24 of 32 batches the loss is higher
    assert not run(0.025, 0.28).is_better()


def test_a_run_that_learns_rare_events_is_left_in_peace():
    x = torch.randn(3200, 8)
    y = (x[:, :1] + 0.5 * torch.randn(3200, 1) > 2.5).float()
    assert 0.005 < float(y.mean()) < 0.03
    assert loud(net(1), F.binary_cross_entropy_with_logits, x, y) == []
