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
from steadygrad.prediction.passage import Passage
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN, Noises
from steadygrad.prediction.stretched import BEYOND, everywhere, powers_at
from steadygrad.prediction.trail import Trail, begun, begun_back, bends

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
    noise = noises.noise(0.0, 0.01, 0.0, 0.02)
    trail = Passage(curve, 1.0, noise, 0.01).of(source, wave, batch, noises)
    assert trail.bent == pytest.approx(trail.straight, abs=1e-3)


@pytest.mark.parametrize("function", [lambda z: np.maximum(z, 0.0), lambda z: z * z, lambda z: np.maximum(z, 0.0) ** 3])
def test_powers_begin_no_sample_of_a_log_that_biases_have_bent(function):
    """A log of an asymmetric law goes through a power along a line, so that its law stays what the form has."""
    noises, batch = Noises(), exchangeable(4)
    source = a_source(batch, noises)
    source.before = noises.noise(0.0, 0.02, 0.0, 0.01).shifted(0.0, 0.02**1.5)
    values = function(tables()[0])[None]
    curve = passed(values, float(values[0] ** 2 @ tables()[1]), source.before, noises, batch)
    assert curve.bent > 0.1
    assert not bends(source, curve, noises)
    grown = gelu(tables()[0])[None]
    assert bends(source, passed(grown, float(grown[0] ** 2 @ tables()[1]), source.before, noises, batch), noises)


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


def turned(terms, units):
    """Logs of |W^T u|² and of the squared cosine of W^T u and x, W the columns, or rows, of a random rotation."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    w = torch.linalg.qr(normal(DRAWS // 4, max(terms, units), max(terms, units)))[0]
    w = w[:, :terms, :units] * (max(terms, units) / units) ** 0.5
    x = normal(DRAWS // 4, units, 1)
    u = normal(len(w), terms, 1) + nn.functional.normalize(w @ x, dim=1) * 2
    g, size = w.mT @ u, (u * u).sum((1, 2))
    c = (u * (w @ x)).sum((1, 2)) / (size * (w @ x).square().sum((1, 2))).sqrt()
    after = (g * x).sum((1, 2)) / (g.square().sum((1, 2)) * x.square().sum((1, 2))).sqrt()
    return c.numpy()[:, None], (g.square().sum((1, 2)) / size).log().numpy(), after.numpy()


@pytest.mark.parametrize(("terms", "units"), [(16, 16), (16, 24), (24, 16)])
def test_an_orthogonal_matrix_keeps_gradients_and_what_lies_along_their_signals(terms, units):
    """|W^T u| and its cosine with x are kept where W has as many columns as rows; else 2/n - 2/m varies of it."""
    c, logs, after = turned(terms, units)
    noises = Noises()
    noises.drawn = c.shape
    free = max(2 / units - 2 / terms, 0.0)
    trail = Trail(0 * c, 0 * c, (c, c)).rotated(1.0, terms, units, (free, 0.0), free / 2, noises)
    error = 5 * (logs.std() / len(logs) ** 0.5 + free**2) + 1e-5
    assert trail.bent.mean() == pytest.approx(logs.mean(), abs=error)
    assert trail.bent.std() == pytest.approx(logs.std(), rel=5 / len(logs) ** 0.5 + free, abs=1e-5)
    assert (trail.cosines[0] ** 2).mean() == pytest.approx((after**2).mean(), rel=5 / len(logs) ** 0.5 + free)


def test_noises_that_are_drawn_together_are_one_where_forms_have_them_alike():
    """Sums over a step have the variance of their form, and what two of them share is as much as they are alike."""
    noises, batch = Noises(), exchangeable(8)
    one, other = noises.noise(0.0, 0.3, 0.0, 0.1), noises.noise(0.0, 0.2, 0.0, 0.4)
    begun(one, batch, noises)
    form = one.plus(other)
    noises.together(form)
    whole, half = noises.sample(form), noises.sample(form.scaled(-0.5))
    assert half == pytest.approx(-whole / 2)
    assert whole.mean(1).var() == pytest.approx(noises.covariance(form, form)[0], rel=5 * (2 / len(whole)) ** 0.5)


def test_functions_that_are_gathered_are_composed():
    """Without noise the sample that has moved once is the one that has moved each time, within what lines leave."""
    noises, batch, z = Noises(), exchangeable(4), tables()[0]
    trail = begun(noises.noise(0.0, 0.3, 0.0, 0.2), batch, noises)
    # Units of orthogonal matrices have a kurtosis, here next to none: what they are to pass is gathered.
    found = [passed_thrice(kurtosis, trail, batch, noises, z) for kurtosis in (0.0, -1e-12)]
    assert found[1] == pytest.approx(found[0], abs=0.01)


def passed_thrice(kurtosis, trail, batch, noises, z):
    for _ in range(3):
        ones = np.ones(batch.followed)
        before = noises.noise(0.0, 0.3, 0.0, 0.2)
        source = Source(0 * ones, ones, 1 - np.eye(batch.followed), WIDTH, before, CERTAIN, 0.0, kurtosis=kurtosis)
        source.trail = trail
        wave = Wave(source, gelu(z)[None], far=gelu(BEYOND)[None])
        curve = passed(wave.values, float(wave.values[0] ** 2 @ tables()[1]), before, noises, batch)
        trail = Passage(curve, 1.0, CERTAIN, 0.0).of(source, wave, batch, noises)
    return trail.moved(noises, np.zeros(trail.bent.shape[1])).bent


def gelu(z):
    return F.gelu(torch.as_tensor(z)).numpy()


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


FEW, STEEP, LENGTH = 12, 1.97, 0.04


def drawn_orthogonal(x):
    """Logs of the mean squares of signals and of gradients behind each function, of one example.

    W x lies anywhere on the sphere of |x|, and W^T u, of |u|, has of x what u has of W x; the rest lies anywhere.
    """
    generator, unit = torch.Generator().manual_seed(0), nn.functional.normalize
    anywhere = lambda: torch.randn(DRAWS, WIDTH, generator=generator)  # noqa: E731
    x, kept, logs = x.expand(DRAWS, -1), [], []
    for _ in range(FEW):
        z = (STEEP * x.norm(dim=1, keepdim=True) * unit(anywhere())).requires_grad_()
        f = F.gelu(z)
        kept.append((unit(x), z.detach(), torch.autograd.grad(f.sum(), z)[0]))
        x = f.detach()
    g = anywhere()
    for along, z, slope in reversed(kept):
        u, rest = g * slope, anywhere()
        logs.append((z.square().mean(1).log(), u.square().mean(1).log()))
        met = (u * unit(z)).sum(1, keepdim=True)
        rest = unit(rest - (rest * along).sum(1, keepdim=True) * along)
        g = STEEP * (met * along + (u.square().sum(1, keepdim=True) - met**2).clamp_min(0).sqrt() * rest)
    return torch.stack([torch.stack(both) for both in logs[::-1]], 2).numpy()


def test_the_band_holds_draws_of_orthogonal_layers_whose_signal_took_off():
    """Lengths vary only as far as functions bend: 95% of draws, within five standard errors of both samples."""
    torch.set_num_threads(1)
    x = inputs() / inputs().square().mean().sqrt() * (LENGTH**0.5 / STEEP)

    def orthogonal():
        layers = nn.Sequential(*(m for _ in range(FEW) for m in (nn.Linear(WIDTH, WIDTH, bias=False), nn.GELU())))
        for layer in layers[::2]:
            nn.init.orthogonal_(layer.weight, gain=STEEP)
        return layers

    (q, grad_q), rows = drawn_orthogonal(x), list(predict(orthogonal, x))[::2]
    ends = [(q, "q", 1), (grad_q, "grad_q", 0)]  # the first layer keeps the length of x
    inside = [
        (
            (logs[:, i] > math.log(getattr(r, f"{name}_low"))) & (logs[:, i] < math.log(getattr(r, f"{name}_high")))
        ).mean()
        for logs, name, first in ends
        for i, r in enumerate(rows)
        if i >= first
    ]
    assert np.array(inside) == pytest.approx(0.95, abs=5 * (2 * 0.05 * 0.95 / DRAWS) ** 0.5), inside
