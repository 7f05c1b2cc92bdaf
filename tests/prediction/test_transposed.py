"""A matrix that is met transposed gives back what it took, forward and backward."""

import itertools
import math

import numpy as np
import pytest
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict

from .test_positions import draw, seeded

DRAWS = 60


class Tied(nn.Module):
    """An encoder, and its decoder by the same matrices."""

    def __init__(self, widths, activation):
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairs)
        self.up, self.down = (nn.ModuleList(activation() for _ in pairs) for _ in range(2))
        self.marks = nn.ModuleList(nn.Identity() for _ in pairs)

    def forward(self, x):
        for layer, phi in zip(self.layers, self.up, strict=True):
            x = phi(layer(x))
        for layer, phi, mark in zip(reversed(self.layers), self.down, self.marks, strict=True):
            x = mark(F.linear(phi(x), layer.weight.t()))
        return x


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("widths", [(64, 64), (64, 48, 32)], ids=["square", "two layers"])
@pytest.mark.parametrize("shape", [(16, 64), (4, 8, 64)], ids=["vectors", "positions"])
def test_tied_decoders_agree_with_draws(activation, widths, shape):
    """Medians of 60 draws, within five standard errors or 0.08; with fresh matrices they are up to 0.7 off."""
    factory, inputs = lambda: Tied(widths, activation), seeded(*shape)
    profile = predict(factory, inputs)
    assert not profile.unknown
    real = np.log([draw(factory, inputs, seed) for seed in range(DRAWS)])
    error = np.maximum(5 * math.sqrt(math.pi / 2 / DRAWS) * real.std(0), 0.08)
    for i, row in enumerate(profile):
        for column, q in enumerate((row.q, row.grad_q)):
            off = math.log(q) - np.median(real[:, i, column])
            assert abs(off) < error[i, column], f"{row.path} {('q', 'grad_q')[column]}: {off:.2f}"


def test_a_matrix_that_takes_and_gives_back():
    """E[|WᵀWx|²]/E[|x|²] of independent entries: (m Var)² (1 + n/m + 1/m), Var = 1/3n of torch's fill."""
    n, m = 96, 32

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.out = nn.Linear(n, m, bias=False), nn.Identity()

        def forward(self, x):
            return self.out(self.layer(x) @ self.layer.weight)

    row = predict(Twice, seeded(16, n))["out"]
    expected = (m / (3 * n)) ** 2 * (1 + n / m) * seeded(16, n).square().mean()
    assert row.q == pytest.approx(float(expected), rel=2 / m)
    assert row.mark == "approximate"
