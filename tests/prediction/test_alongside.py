"""How far gradients of a batch lie along their own signals, where the large ones count most."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction.alongside import Alongside, of_function
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.gradients import backward
from steadygrad.prediction.hermite import expand
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.operators.positions import as_signal
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.run import interpreted, interpreting
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Noises
from steadygrad.prediction.values import Moments

WIDTH, DEPTH, BATCH, DRAWS = 32, 20, 8, 2000


def he():
    model = nn.Sequential(*(m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=(2 / WIDTH) ** 0.5)
        nn.init.zeros_(layer.bias)
    return model


def drawn(x):
    """R = Σ w a at the input of the second layer, and the log of the gradient's mean square there, over draws."""
    rng, signals, weights = np.random.default_rng(0), [np.broadcast_to(x, (DRAWS, BATCH, WIDTH))], []
    for _ in range(DEPTH):
        weights.append(rng.standard_normal((DRAWS, WIDTH, WIDTH), np.float32) * np.float32((2 / WIDTH) ** 0.5))
        signals.append(np.maximum(signals[-1] @ weights[-1], 0))
    g = rng.standard_normal(signals[-1].shape, np.float32)
    for weight, signal in zip(weights[:0:-1], signals[:1:-1], strict=True):
        g = (g * (signal > 0)) @ weight.transpose(0, 2, 1)
    sizes, x = (g * g).sum(2), signals[1]
    along = WIDTH * (g * x).sum(2) ** 2 / np.maximum((x * x).sum(2), 1e-300)
    return (along.sum(1) / sizes.sum(1)).astype(float), np.log(sizes.mean(1)).astype(float)


def test_large_gradients_of_a_deep_network_lie_less_along_their_signals():
    """E[R] and Cov(R, log M), by 2000 draws, 20 layers of 32: within a third of what they are beside 1 and 0.

    First order in depth over width, (20/32)² is two fifths; without it R were 1 and all covariances 0.
    """
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    examples = examples_of(x, None)
    with interpreting(examples.batch) as run:
        found = interpreted(he, examples, run)
        signal = as_signal(run, found.rows[1].gradient)
    share, logs = drawn(x.numpy())
    along = signal.moments.alongside
    error = 5 * share.std() / DRAWS**0.5
    assert share.mean() + error < 1
    assert along.mean - 1 == pytest.approx(share.mean() - 1, abs=error + (1 - share.mean()) / 3)
    together = (share - share.mean()) * (logs - logs.mean())
    error = 5 * together.std() / DRAWS**0.5
    assert together.mean() > error
    assert along.with_size == pytest.approx(together.mean(), abs=error + together.mean() / 3)


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_of_one_example_what_lies_along_its_signal_does_not_go_with_its_size(slope):
    """Behind a rectifier of any slope: V = 2 and h = 0 stay, to what the series of a jump is off by."""
    batch, ones, noises = exchangeable(2), np.ones(2), Noises()
    same = Moments(ones * 0, ones, np.zeros((2, 2)), CERTAIN, alongside=Alongside(2.0, 0.0))
    source = gaussian(Moments(ones * 0, ones, np.zeros((2, 2)), CERTAIN), WIDTH, batch)
    forward(Wave(source, np.maximum(source.nodes, slope * source.nodes)), batch, noises)
    values = np.where(source.nodes > 0, 1.0, slope)
    step = of_function(same, source, values, expand(values), 1.0, batch)
    behind = same.alongside.behind(step, WIDTH)
    assert (behind.varied, behind.with_size) == pytest.approx((2.0, 0.0), abs=0.02 / WIDTH)
    assert backward(same, Wave(source, values), batch, noises).alongside == behind
