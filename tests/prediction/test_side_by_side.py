"""Sums of a rectified stream and a branch: distributed as they are, forward and backward."""

import math

import numpy as np
import pytest
from torch import nn

from steadygrad.prediction import predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.hermite import expand, tables
from steadygrad.prediction.side_by_side import as_met, folded
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

from .test_positions import draw, seeded

SIZE = 0.6  # deviation of the branch
NODE = float(tables()[1].max())


def source():
    gap = 0.7 * (1 - np.eye(2))
    return Source(np.zeros(2), np.ones(2), gap, 64, CERTAIN, CERTAIN, 1.0)


@pytest.fixture(scope="module")
def rectified_and_branch():
    z = tables()[0]
    q = np.full(2, 0.5 + SIZE**2)
    moments = Moments(np.full(2, (2 * math.pi) ** -0.5), q, 0.3 * (1 - np.eye(2)), CERTAIN)
    stream, branch = Wave(source(), np.maximum(z, 0)[None]), Wave(source(), SIZE * z[None], gaussian=True)
    return folded(stream, branch, 1.0, moments, 64, exchangeable(8))


def test_a_folded_sum_is_distributed_as_the_sum(rectified_and_branch):
    """Of 400,000 draws: means of functions within five standard errors and a thousandth; of a step, a node's weight."""
    h, w = rectified_and_branch.values[0], tables()[1]
    rng = np.random.default_rng(0)
    sums = np.maximum(rng.standard_normal(400_000), 0) + SIZE * rng.standard_normal(400_000)
    assert abs(float((h < 0) @ w) - (sums < 0).mean()) < NODE
    for f in (lambda x: x, lambda x: np.maximum(x, 0), lambda x: np.maximum(x, 0) ** 2, lambda x: x**4):
        real, found = f(sums), float(f(h) @ w)
        assert abs(found - real.mean()) < 5 * real.std() / len(sums) ** 0.5 + 1e-3 * max(real.mean(), 1.0)
    assert (np.diff(h) >= 0).all()


def test_its_correlations_are_those_of_the_sum(rectified_and_branch):
    made = rectified_and_branch.source
    apart = made.difference(expand(rectified_and_branch.values))
    assert apart[0, 1] == pytest.approx(0.3, abs=1e-3)


def test_a_gate_behind_the_sum_is_half_open_where_the_stream_was_zero(rectified_and_branch):
    gate = Wave(rectified_and_branch.source, (rectified_and_branch.values > 0).astype(float))
    met, (z, w) = as_met(gate), tables()[:2]
    assert met.values[0, z < 0] == pytest.approx(0.5, abs=NODE)
    assert met.values[0, z > 3 * SIZE] == pytest.approx(1.0, abs=NODE)
    assert float(met.values[0] @ w) == pytest.approx(float((rectified_and_branch.values[0] > 0) @ w), abs=NODE)


class Block(nn.Module):
    """The rectified sum of a stream and a branch of two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64), nn.ReLU(), nn.ReLU()
        for layer, scale in ((self.a, 2**0.5), (self.b, 0.5)):
            nn.init.normal_(layer.weight, std=scale / 8)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.outer(x + self.b(self.inner(self.a(x))))


def stream():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), *(Block() for _ in range(6)))


def test_a_rectified_stream_keeps_its_signal_and_its_gradient():
    """Medians of 200 draws, within five standard errors and 0.05; as Gaussians, sums are 0.15 and gradients 0.4 off."""
    inputs, count = seeded(8, 64), 200
    profile = predict(stream, inputs)
    real = np.log([draw(stream, inputs, seed) for seed in range(count)])
    outer = [i for i, row in enumerate(profile) if row.path.endswith("outer")]
    for i in (*outer, 1):
        for column, expected in enumerate((profile.layers[i].q, profile.layers[i].grad_q)):
            error = 5 * math.sqrt(math.pi / 2 / count) * real[:, i, column].std() + 0.05
            assert abs(math.log(expected) - np.median(real[:, i, column])) < error, (profile.layers[i].path, column)
