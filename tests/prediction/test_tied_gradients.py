"""How sizes of gradients vary together where a weight is met at every step: an exact law, and draws."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict
from steadygrad.prediction.field import Field
from steadygrad.prediction.kinship import Part, Sum, Through
from steadygrad.prediction.own_noise import Make, projected
from steadygrad.prediction.spread import CERTAIN, Noises
from steadygrad.prediction.tied import AtSteps
from steadygrad.prediction.values import Moments

from .test_positions import seeded

WIDTH, STEPS, EXAMPLES, Z = 64, 10, 4, 1.959964


def deviation(row):
    return math.log(row.grad_q_high / row.grad_q_low) / (2 * Z)


def drawn(factory, x, draws):
    """Logs of the mean square gradient at the output of `first`, [draws], where that of the output is normal."""
    logs = []
    for seed in range(draws):
        torch.manual_seed(seed)
        model, outs = factory(), []
        model.first.register_forward_hook(lambda m, a, y, outs=outs: outs.append(y))
        y = model(x)
        (grad,) = torch.autograd.grad(y, outs, torch.randn_like(y))
        logs.append(float(grad.double().square().mean().log()))
    return np.array(logs)


class Leaky(nn.Module):
    """A cell by hand that keeps a share of its state: of the gradients of two steps most is one."""

    def __init__(self, keep=0.9):
        super().__init__()
        self.first, self.cell, self.head = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.keep = keep

    def forward(self, x):
        h, out = torch.zeros(len(x), WIDTH), []
        for step in self.first(x).unbind(1):
            h = self.keep * h + self.cell(step)
            out.append(h)
        return self.head(torch.stack(out, 1))


class Cells(nn.Module):
    """Two recurrent layers between two linear ones."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.head = (nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.cells = getattr(nn, kind)(WIDTH, WIDTH, 2, batch_first=True)

    def forward(self, x):
        return self.head(self.cells(self.first(x))[0])


class Written(nn.Module):
    """Two layers of a cell by hand, each with a gate that keeps its state."""

    def __init__(self):
        super().__init__()
        self.first, self.head = (nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.gates, self.inputs = (nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2)) for _ in range(2))

    def forward(self, x):
        steps = self.first(x).unbind(1)
        for gate, inner in zip(self.gates, self.inputs, strict=True):
            h, out = torch.zeros(len(x), WIDTH), []
            for step in steps:
                keep = torch.sigmoid(gate(step))
                h = keep * h + (1 - keep) * torch.tanh(inner(step))
                out.append(h)
            steps = out
        return self.head(torch.stack(steps, 1))


@pytest.mark.parametrize("examples", [1, EXAMPLES])
def test_a_memory_gives_the_gradients_of_all_steps_one_noise(examples):
    """Of a linear cell, at 500 draws, within five standard errors; of steps that know of each other nothing 0.6."""
    x, draws = seeded(examples, STEPS, WIDTH), 500
    ratio = math.log(deviation(predict(Leaky, x)["first"]) / drawn(Leaky, x, draws).std())
    assert abs(ratio) < 5 / math.sqrt(2 * draws)


@pytest.mark.parametrize("factory", [Written, *(partial(Cells, kind) for kind in ("RNN", "GRU", "LSTM"))])
def test_gradients_of_recurrent_networks_vary_as_they_do_over_draws(factory):
    """Deviations within five standard errors of 250 draws, and medians too."""
    x, draws = seeded(EXAMPLES, STEPS, WIDTH), 250
    row, logs = predict(factory, x)["first"], drawn(factory, x, draws)
    assert abs(math.log(deviation(row) / logs.std())) < 5 / math.sqrt(2 * draws)
    assert abs(math.log(row.grad_q) - np.median(logs)) < 5 * math.sqrt(math.pi / 2 / draws) * logs.std()


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.8])
def test_a_cosine_of_gaussian_entries_has_its_variance_and_what_it_has_in_common_with_their_sizes(rho):
    """Its variance is (1 - ρ²)²/n beside the mean of both logs times ρ, and ρ (1 - ρ²)/n is in common with each."""
    n, draws = 1000, 4000
    a, b = np.random.default_rng(0).standard_normal((2, draws, n))
    b = rho * a + math.sqrt(1 - rho**2) * b
    logs = np.log([(a * a).mean(1), (b * b).mean(1)])
    met = (a * b).mean(1) - rho * (1 + logs.mean(0))
    met -= met.mean()
    for x, y, exact in ((met, met, (1 - rho**2) ** 2), (met, logs[0] - logs[0].mean(), rho * (1 - rho**2))):
        assert abs((x * y).mean() - exact / n) < 5 * (x * y).std() / math.sqrt(draws) + 5 / n**1.5


def test_what_all_steps_have_in_common_is_kept_however_many_they_are():
    """Of 30 noises with a twentieth of their variance in common, each with all others, and none with nothing else."""
    noises, make, common, variance = Noises(), Make(), 0.05, 0.01
    for _ in range(30):
        forms, met = make.known(lambda _: common * variance)
        among = np.array([[noises.covariance(a, b)[0] for a in forms] for b in forms])
        known = CERTAIN
        for form, share in zip(forms, projected(among, np.array(met), variance), strict=True):
            known = known.plus(form.scaled(share))
        left = variance - noises.covariance(known, known)[0]
        make.add(None, known.plus(noises.noise(0.0, left, 0.0)))
    one, *_, last = (form for _, form in make.members)
    assert noises.covariance(last, last)[0] == pytest.approx(variance)
    assert noises.covariance(one, last)[0] == pytest.approx(common * variance, rel=0.1)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_gradient_of_one_step_alone_has_not_come_in_at_several(steps):
    """The last of three steps, or the last two, have a gradient; what goes back from there is as it came in."""
    share = np.array([0.0, 0.0, 3.0]) if steps == 1 else np.array([0.0, 1.5, 1.5])
    one = Moments(np.zeros(2), np.ones(2), 1 - np.eye(2), CERTAIN)
    whole = replace(
        one, field=Field(share, np.array([0.0, 1.0, 1.0]), np.ones(3)), origin=Through(0, one, 1.0, back=True)
    )
    part = replace(one, origin=Part(whole, ("all", WIDTH), (2,)))
    behind = replace(one, origin=Through(1, replace(one, origin=Sum(((part, 1.0), (one, 1.0)))), 1.0, back=True))
    assert AtSteps().of(behind) is (steps == 2)
