"""What gradients have in common with signals through the same Gaussian layers, against draws."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import polygamma
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import linear_map, predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.meeting import MET_NOTHING
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Noises, Z
from steadygrad.prediction.values import Fill, Moments

WIDTH, DEPTH, DRAWS = 20, 10, 20_000
PARTS = 10  # of the draws, so that all of their matrices are never held at once


@functools.cache
def drawn(size):
    """Logs of the mean squares of each linear layer's output, and of the gradients from the output to the input."""
    rng = np.random.default_rng(size)
    parts = [_some_drawn(size, rng) for _ in range(PARTS)]
    return [[np.concatenate(logs) for logs in zip(*columns, strict=True)] for columns in zip(*parts, strict=True)]


def _some_drawn(size, rng):
    draws = DRAWS // PARTS
    x, g = rng.standard_normal((2, draws, WIDTH, size))
    weights = [rng.standard_normal((draws, WIDTH, WIDTH), dtype=np.float32) / WIDTH**0.5 for _ in range(DEPTH)]
    signals, gradients = [x / np.sqrt((x**2).mean(1, keepdims=True))], [g]
    for w in weights:
        signals.append(w @ signals[-1])
    for w in reversed(weights):
        gradients.append(w.transpose(0, 2, 1) @ gradients[-1])
    return [[np.log((t**2).mean((1, 2))) for t in column] for column in (signals[1:], gradients)]


def predicted(size):
    """The forms of the same, and their noises."""
    batch, noises = exchangeable(size), Noises()
    ones, apart = np.ones(batch.followed), 1 - np.eye(batch.followed)
    sizes = {"terms": WIDTH, "units": WIDTH, "batch": batch, "noises": noises}
    x, share = Moments(0 * ones, ones, apart, CERTAIN, excess=apart / WIDTH), 1 / WIDTH
    signals, sources = [], []
    for i in range(DEPTH):
        sources.append(linear_map.forward(x, Fill(0.0, share, i), None, **sizes))
        x = forward(Wave(sources[-1], sources[-1].nodes, gaussian=True), batch, noises)
        signals.append(x.spread)
    start, met = noises.fresh(2 / (WIDTH * size)), MET_NOTHING.raised(share, share)
    g = Moments(0 * ones, ones, apart, start, excess=apart / WIDTH, alignment=share, crossed=share, meeting=met)
    gradients = [g.spread]
    for i, source in reversed(list(enumerate(sources))):
        g = linear_map.backward(g, Fill(0.0, share, i), source, **sizes)
        gradients.append(g.spread)
    return signals, gradients, noises


@pytest.mark.parametrize("size", [1, 4])
def test_a_gradient_shares_with_each_layer_what_that_layer_makes_of_the_signal(size):
    """Covariances within five standard errors and what the next order, half the depth over the width, may be."""
    (signals, gradients), (forms, forms_back, noises) = drawn(size), predicted(size)
    last, form = gradients[-1], forms_back[-1]
    for layer, (signal, known) in enumerate(zip(signals, forms, strict=True)):
        found, expected = np.cov(last, signal)[0, 1], noises.covariance(form, known)[0]
        error = 5 * (last.var() * signal.var() / DRAWS) ** 0.5
        assert found == pytest.approx(expected, abs=error + expected * (layer + 1) / (2 * WIDTH))


@pytest.mark.parametrize("size", [1, 4])
def test_products_with_independent_matrices_add_up(size):
    """Whatever each of them shares with the signal: the variance of a log within five standard errors, 2/n of it."""
    (_, gradients), (_, forms, noises) = drawn(size), predicted(size)
    for gradient, form in zip(gradients, forms, strict=True):
        assert noises.of(form)[1] == pytest.approx(gradient.var(), rel=5 * (2 / DRAWS) ** 0.5 + 1 / WIDTH)


def test_the_variance_of_a_thousand_layers_is_that_of_each_a_thousand_times(monkeypatch):
    """log |W^T g|² of one example is a sum of logs of independent χ² of n degrees: ψ'(n/2) each, and one at the end."""
    monkeypatch.setitem(globals(), "DEPTH", 1000)
    _, forms, noises = predicted(1)
    assert noises.of(forms[-1])[1] == pytest.approx(1001 * polygamma(1, WIDTH / 2), rel=0.01)


CLASSES, LAYERS, UNITS, EXAMPLES, MANY = 10, 10, 64, 32, 4000
SIGMA_W, SIGMA_B, HEAD = 1.2, 0.1, 0.02


def through_tanh(x, labels, draws):
    """Logs of grad_q of the layers' outputs, [draws, layers], the first layer's first."""
    z, kept = x.T.expand(draws, -1, -1), []
    for _ in range(LAYERS):
        w = torch.randn(draws, UNITS, UNITS) * SIGMA_W / UNITS**0.5
        z = torch.tanh(w @ z + SIGMA_B * torch.randn(draws, UNITS, 1))
        kept.append((w, 1 - z**2))
    head = torch.randn(draws, CLASSES, UNITS) * HEAD
    logits = (head @ z).requires_grad_()
    loss = F.cross_entropy(logits, labels.expand(draws, -1), reduction="sum") / EXAMPLES
    g, logs = head.transpose(1, 2) @ torch.autograd.grad(loss, logits)[0], []
    for w, slope in reversed(kept):
        g = g * slope
        logs.append(g.square().mean((1, 2)).log())
        g = w.transpose(1, 2) @ g
    return torch.stack(logs[::-1], 1)


def tanh_network():
    model = nn.Sequential(*(m for _ in range(LAYERS) for m in (nn.Linear(UNITS, UNITS), nn.Tanh())))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=SIGMA_W / UNITS**0.5)
        nn.init.normal_(layer.bias, std=SIGMA_B)
    model.append(nn.Linear(UNITS, CLASSES))
    nn.init.normal_(model[-1].weight, std=HEAD)
    nn.init.zeros_(model[-1].bias)
    return model


def test_the_size_of_the_logits_is_no_noise_of_the_layers_below():
    """Behind few classes the alignment is large, and hardly any layer's: deviations within 10%, five errors more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, labels = torch.randn(EXAMPLES, UNITS), torch.arange(EXAMPLES) % CLASSES
    logs = torch.cat([through_tanh(x, labels, MANY // 20) for _ in range(20)])
    rows = list(predict(tanh_network, x, labels, loss_fn=nn.CrossEntropyLoss()))[: 2 * LAYERS : 2]
    width = np.log([row.grad_q_high / row.grad_q_low for row in rows])
    off = np.log(width / (2 * 1.959964) / logs.std(0).numpy())
    assert (abs(off) < 0.1 + 5 / (2 * MANY) ** 0.5).all(), off


def test_what_avoids_its_signal_avoids_all_that_lie_along_it():
    """Saturating layers, six widths deep: all signals are one line, and no gradient leans on what layers made of it.

    Deviations of the log within five standard errors of the drawn one.
    """
    depth, width, size, draws, gain = 100, 16, 8, 1000, 1.12 / 16
    g, layers = torch.Generator().manual_seed(0), range(depth)
    x = 0.3 * torch.randn(size, width, generator=g)
    weights, h, signals = torch.randn(depth, draws, width, width, generator=g) * gain**0.5, x.expand(draws, -1, -1), []
    for w in weights:
        h = torch.tanh(h @ w)
        signals.append(h)
    back, deviations = torch.randn(draws, size, width, generator=g), []
    for w, h in zip(weights.flip(0), reversed(signals), strict=True):
        back = back * (1 - h**2)
        deviations.append(float(back.square().mean((1, 2)).log().std()))
        back = back @ w.transpose(1, 2)

    def made():
        linear = [nn.Linear(width, width, bias=False) for _ in layers]
        for layer in linear:
            nn.init.normal_(layer.weight, std=gain**0.5)
        return nn.Sequential(*(part for layer in linear for part in (layer, nn.Tanh())))

    rows = [row for row in predict(made, x) if row.kind == "Linear"]
    bands = [np.log(row.grad_q_high / row.grad_q_low) / (2 * Z) for row in rows]
    assert bands == pytest.approx(deviations[::-1], rel=5 / (2 * draws) ** 0.5)


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.8])
def test_what_avoids_its_signal_has_nothing_of_its_own_length(cosine):
    """Of another's a share 1 - c² is across its own: the whole covariance with its own noise is 0, to 1/units of it.

    A gradient that leans on its own as on others has, where both alignments are a, twice a of its own noise.
    """
    units, size, aligned = 1000, 8, 0.1
    batch, noises = exchangeable(size), Noises()
    ones, apart = np.ones(batch.followed), 1 - np.eye(batch.followed)
    x = Moments(0 * ones, ones, (1 - cosine) * apart, CERTAIN)
    source = linear_map.forward(x, Fill(0.0, 1 / units, 0), None, terms=units, units=units, batch=batch, noises=noises)
    met = MET_NOTHING.raised(aligned, aligned).grown(aligned, aligned, source, batch)

    def of_its_own(forms):
        shared = noises.covariance(forms[0], source.shared)[0]
        return shared + (1 - 1 / size) * noises.covariance(forms[1], source.alone)[1]

    assert of_its_own(met.forms(batch, 0.0, source)) == pytest.approx(0.0, abs=2 * aligned / units)
    assert of_its_own(met.forms(batch, 1.0, source)) == pytest.approx(2 * aligned, rel=2 / units)


def test_functions_meet_what_of_a_gradient_lies_along_its_own_signal():
    """What is across it is to second order independent of them: squares of linear units and of what is across them.

    Covariances of h², h a tanh's slope, with the square of another's unit and with that of its part across.
    """
    rng, cosine = np.random.default_rng(0), 0.5
    z, across = rng.standard_normal((2, 400_000))
    h = 1 / np.cosh(z) ** 4
    whole, rest = ((u**2 - 1) * (h - h.mean()) for u in (cosine * z + (1 - cosine**2) ** 0.5 * across, across))
    along = cosine**2 * ((z**2 - 1) * (h - h.mean())).mean()
    error = 5 / len(z) ** 0.5
    assert abs(rest.mean()) < error * rest.std()
    assert abs(whole.mean() - along) < error * whole.std()
    noises = Noises()
    one = noises.fresh(0.1)
    shared, alone = replace(MET_NOTHING, crossed=one, crossed_alone=one).forms_of_function(exchangeable(8), 0.0)
    assert noises.covariance(shared, one)[0] == noises.covariance(alone, one)[0] == 0.0
