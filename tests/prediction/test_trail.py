"""A sample of logs, followed through functions as they are: behind powers it is the form, behind others it is draws."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.curve import passed
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import Noises
from steadygrad.prediction.stretched import BEYOND, everywhere, powers_at
from steadygrad.prediction.trail import Passage, begun, begun_back

WIDTH, DEPTH, DRAWS, SIGMA, SCALE = 64, 24, 8000, 2.02, 0.04


def a_source(batch, noises):
    before, own = noises.noise(0.0, 0.3, 0.0, 0.2), noises.fresh(2 / WIDTH)
    ones, gap = np.ones(batch.followed), 1 - np.eye(batch.followed)
    source = Source(0 * ones, ones, gap, WIDTH, before, own, 2.0)
    source.trail = begun(before, batch, noises)
    return source


@pytest.mark.parametrize("function", [lambda z: np.maximum(z, 0.0), abs, lambda z: z])
def test_behind_a_power_the_sample_is_the_form(function):
    """log E[f(s z)²] is log s² and a constant: whatever size an example has, no function has bent its log."""
    noises, batch, z = Noises(), exchangeable(4), tables()[0]
    source = a_source(batch, noises)
    wave = Wave(source, function(z)[None], far=function(BEYOND)[None])
    curve = passed(wave.values, float(wave.values[0] ** 2 @ tables()[1]), source.before, noises, batch)
    noise = noises.normal(0.01, 0.02)
    trail = Passage(curve, 1.0, noise, 0.01).of(source, wave, batch, noises)
    assert trail.bent == pytest.approx(trail.straight, abs=1e-3)


def test_what_lies_along_the_signal_goes_back_as_it_is():
    """(W^T u)·x is u·z, so that the product of both sizes and the squared cosine is the same in front of W."""
    noises, batch = Noises(), exchangeable(4)
    trail = begun_back(noises.fresh(0.1), 0.05, batch, noises)
    units, fresh = noises.normal(0.02, 0.02), noises.normal(0.02, 0.02)
    behind = trail.pulled(1.0, 1 / WIDTH, 1.0, fresh, units)
    for log, c, log_u, c_u in zip(
        (behind.bent, behind.straight), behind.cosines, (trail.bent, trail.straight), trail.cosines, strict=True
    ):
        assert log + np.log(c * c) == pytest.approx(log_u + np.log(c_u * c_u) + units)


def test_samples_of_forms_have_their_covariances():
    """Of the batch's mean, and of single examples beside it, within five standard errors."""
    noises, batch = Noises(), exchangeable(16)
    one, other = noises.noise(0.0, 0.3, 0.0, 0.5), noises.noise(0.0, 0.2, 0.0, 0.1)
    begun(one, batch, noises)
    form = one.plus(other.scaled(0.5))
    a, b = noises.sample(form), noises.sample(one)
    shared, alone = noises.covariance(form, one)
    within = ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).sum(1) / 15
    assert np.cov(a.mean(1), b.mean(1))[0, 1] == pytest.approx(shared, rel=5 * (2 / len(a)) ** 0.5)
    assert within.mean() == pytest.approx(alone, abs=5 * within.std() / len(a) ** 0.5)


@pytest.mark.parametrize("log", [-2.0, 0.0, 4.0, 9.0])
def test_a_function_is_known_far_beyond_the_nodes(log):
    """E[tanh²] of a Gaussian a hundred times as wide as the nodes' own, within what straight lines between leave."""
    z, values = everywhere(np.tanh(tables()[0] / 20), np.tanh(BEYOND / 20))
    found = powers_at((z, values), np.array([log]))[0][0]
    x = np.linspace(-9, 9, 20_001)
    w = np.exp(-x * x / 2)
    assert found == pytest.approx(float(np.tanh(math.exp(log / 2) * x / 20) ** 2 @ w / w.sum()), rel=0.02)


def drawn():
    """Logs of the mean squares of the gradient behind each function, of one example: given z all else is fresh."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda: torch.randn(DRAWS, WIDTH, generator=generator)  # noqa: E731
    x, kept, logs = SCALE * inputs().expand(DRAWS, -1), [], []
    for _ in range(DEPTH):
        z = (SIGMA * x.square().mean(1, keepdim=True).sqrt() * normal()).requires_grad_()
        f = F.gelu(z)
        kept.append((x, z.detach(), torch.autograd.grad(f.sum(), z)[0]))
        x = f.detach()
    g = normal()
    for x, z, slope in reversed(kept):
        u = g * slope
        logs.append(u.square().mean(1).log())
        fresh = SIGMA * u.square().mean(1, keepdim=True).sqrt() * normal()
        g = fresh + x * ((u * z).sum(1, keepdim=True) - (fresh * x).sum(1, keepdim=True)) / x.square().sum(
            1, keepdim=True
        )
    return torch.stack(logs[::-1], 1).numpy()


def inputs():
    return torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))


def network():
    layers = nn.Sequential(*(m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH, bias=False), nn.GELU())))
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=SIGMA / WIDTH**0.5)
    return layers


def test_the_band_holds_gradients_of_draws_whose_signal_took_off():
    """A GELU that is small grows faster than a line: 95% of draws, within five standard errors of both samples."""
    torch.set_num_threads(1)
    logs, rows = drawn(), list(predict(network, SCALE * inputs()))[::2]
    inside = [
        ((logs[:, i] > math.log(r.grad_q_low)) & (logs[:, i] < math.log(r.grad_q_high))).mean()
        for i, r in enumerate(rows)
    ]
    assert np.array(inside) == pytest.approx(0.95, abs=5 * (2 * 0.05 * 0.95 / DRAWS) ** 0.5), inside
