"""Products of two signals: distributed as they are, and gradients that know what one factor had."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.multiplied_signals import folded_product, to_factor
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

from .test_maxima import norms, source_of
from .test_positions import seeded

DRAWS, APPROXIMATE = 32, 0.25  # of the log
LABELS = torch.arange(16) % 5
Z, W = tables()[:2]
LINE, OPEN = Z, np.maximum(Z, 0.0)


def product(f, g):
    """Two functions of sources of their own, and their product, of two examples."""
    q = float(f**2 @ W) * float(g**2 @ W)
    m = Moments(np.zeros(2), np.full(2, q), q * (1 - np.eye(2)), CERTAIN)
    x, y = Wave(source_of(2), f[None]), Wave(source_of(2), g[None])
    wave, _ = folded_product(x, y, m, 32, exchangeable(2))
    return x, y, wave, m


def test_a_product_is_distributed_as_it_is():
    """Of two normal numbers E[x⁴ y⁴] = 9 E[x² y²]²; of a gate that is open half of the time half are zero."""
    _, _, wave, m = product(LINE, LINE)
    assert wave.values[0] ** 2 @ W == pytest.approx(m.q[0])
    assert wave.values[0] ** 4 @ W == pytest.approx(9 * m.q[0] ** 2, rel=0.1)
    _, _, wave, m = product(LINE, OPEN)
    assert (np.abs(wave.values[0]) < 1e-9) @ W == pytest.approx(0.5, abs=0.1)


def test_what_meets_nothing_of_the_product_meets_nothing_of_a_factor():
    x, y, wave, m = product(LINE, OPEN)
    met = Wave(wave.source, np.ones((1, len(Z))))
    found, before, after = to_factor(met, y.source, m)
    assert found.source is x.source
    assert found.values == pytest.approx(1)
    assert after.q == pytest.approx(m.q)
    assert before.d == pytest.approx(m.d)
    assert to_factor(met, source_of(2), m) is None
    assert to_factor(Wave(x.source, met.values), y.source, m) is None


@pytest.mark.parametrize("power", [1, 2])
def test_what_goes_back_to_a_factor_is_its_mean_square(power):
    """P^k y of P = x y has the square x^2k E[y^(2k + 2)] given x; all over, E[y^(2k + 2)]/(E[y^2k] E[y²]) of it more.

    At three deviations the quantiles of a product of Gaussians are known within the spacing of nodes.
    """
    _, y, wave, m = product(LINE, LINE)
    met = Wave(wave.source, np.abs(wave.values) ** power)
    found, _, after = to_factor(met, y.source, m)
    moments = [1, 1, 3, 15]
    assert after.q / m.q == pytest.approx(moments[power + 1] / (moments[power] * moments[1]), rel=0.1)
    middle = np.abs(Z) < 3
    expected = np.abs(Z) ** power / np.sqrt(moments[power])
    assert found.values[0][middle] == pytest.approx(expected[middle], rel=0.1, abs=0.1)


class Gated(nn.Module):
    def __init__(self, layer, phi):
        super().__init__()
        self.value, self.gate, self.phi = layer(), layer(), phi

    def forward(self, x):
        return self.value(x) * self.phi(self.gate(x))


class Largest(nn.Module):
    def forward(self, x):
        return x.flatten(2).amax(2) if x.dim() == 4 else x.amax(1)


def linear():
    return nn.Linear(16, 16)


def conv():
    return nn.Conv2d(16, 16, 3, padding=1)


NETWORKS = {
    "steps": (lambda: nn.Sequential(Gated(linear, nn.ReLU()), Largest(), nn.Linear(16, 5)), seeded(16, 10, 16)),
    "sigmoid": (lambda: nn.Sequential(Gated(linear, nn.Sigmoid()), Largest(), nn.Linear(16, 5)), seeded(16, 10, 16)),
    "units": (lambda: nn.Sequential(Gated(linear, nn.ReLU()), nn.ReLU(), nn.Linear(16, 5)), seeded(16, 16)),
    "pixels": (
        lambda: nn.Sequential(conv(), Gated(conv, nn.SiLU()), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 5)),
        seeded(16, 16, 8, 8),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_takes_the_largest_of_a_product_agrees_with_draws(name):
    """As a Gaussian a gated signal has too small a maximum, 0.7 of it, and gradients 1 of the log too small."""
    make, x = NETWORKS[name]
    predicted = predict(make, x, LABELS, loss_fn=F.cross_entropy)
    found = [np.log(row.q) for row in predicted.layers] + [norms(predicted)[k] for k in sorted(norms(predicted))]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        profile = measure(make(), x, LABELS, F.cross_entropy)
        drawn.append([np.log(row.q) for row in profile.layers] + [norms(profile)[k] for k in sorted(norms(profile))])
    error = np.abs(np.array(found) - np.median(drawn, 0))
    assert (error < APPROXIMATE + 5 * 1.2533 * np.std(drawn, 0) / DRAWS**0.5).all(), error
