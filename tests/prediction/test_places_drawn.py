"""Signals with positions, drawn: places of one example and of two have in common what is known of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.draws import _placed

from .test_positions import seeded

DRAWS, SLACK = 48, 0.15  # of the log: lags are means over all pairs of places so far apart
GATED = 0.35  # where a sum that has ends is taken as Gaussian
STEPS = seeded(16, 12, 16)


def exchangeable(count, common):
    return np.full((count, count), common) + (1 - common) * np.eye(count)


@pytest.mark.parametrize("common", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("others", [0.2, 0.8])
def test_places_are_as_correlated_as_asked(common, others):
    """Of N numbers a correlation r is known within (1 - r²)/√N, and a tenth of that is what rounding could add."""
    count, places, draws = 5, 4, 40_000
    lags = np.abs(np.subtract.outer(np.arange(places), np.arange(places)))
    apart = (1 - common) * others**lags  # what differs between examples falls off over places
    other = np.full((places, places), common)
    own = other + apart
    examples = exchangeable(count, common)
    z = np.linalg.cholesky(examples) @ np.random.default_rng(0).standard_normal((count, draws * places))
    half = z.reshape(count, draws, places).transpose(1, 0, 2)[..., None]
    size = np.array([1.0, 2.0, 0.5, 1.0])
    found = _placed(half, examples, own, other, size)[..., 0] / size
    covariance = np.einsum("iap,ibq->abpq", found, found) / draws
    error = 5 / math.sqrt(draws)
    assert abs(covariance[range(count), range(count)] - own).max() < error * 1.5
    assert abs(covariance[~np.eye(count, dtype=bool)] - other).max() < error * 1.5


def test_two_examples_that_are_one_are_one_at_every_place():
    own = 0.4 + 0.6 * np.eye(3)
    examples = np.array([[1.0, 1.0, 0.1], [1.0, 1.0, 0.1], [0.1, 0.1, 1.0]])
    values, vectors = np.linalg.eigh(examples)
    root = vectors * np.sqrt(np.maximum(values, 0))
    half = np.einsum("ij,sjpf->sipf", root, np.random.default_rng(0).standard_normal((64, 3, 3, 2)))
    found = _placed(half, examples, own, np.full((3, 3), 0.4), np.ones(3))
    assert found[:, 0] == pytest.approx(found[:, 1], abs=1e-6)
    assert abs(found[:, 0] - found[:, 2]).max() > 0.1


class Largest(nn.Module):
    """The largest of all states, unit by unit."""

    def __init__(self, kind, wide=1.0):
        super().__init__()
        self.states, self.pooled, self.head = kind(16, 16, batch_first=True), nn.Identity(), nn.Linear(16, 4)
        with torch.no_grad():
            self.states.weight_ih_l0.mul_(wide)

    def forward(self, x):
        return self.head(self.pooled(self.states(x)[0].amax(1)))


@pytest.mark.parametrize(
    ("kind", "wide", "slack"),
    [(nn.RNN, 1.0, SLACK), (nn.RNN, 2.0, SLACK), (nn.LSTM, 2.0, SLACK), (nn.GRU, 1.0, GATED)],
)
def test_the_largest_of_states_over_time_agrees_with_draws(kind, wide, slack):
    """Biases are what states of all examples have in common at all steps; and states end at one.

    A sum of gated states is taken as Gaussian, whose largest go beyond their ends.
    """
    row = predict(lambda: Largest(kind, wide), STEPS)["pooled"]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found = measure(Largest(kind, wide), STEPS)["pooled"]
        drawn.append([math.log(found.q), math.log(found.signal)])
    error = 5 * 1.2533 * np.std(drawn, 0) / math.sqrt(DRAWS)
    assert abs(math.log(row.q) - np.median(drawn, 0)[0]) < slack + error[0]
    assert abs(math.log(row.signal) - np.median(drawn, 0)[1]) < slack + error[1]


def test_steps_that_grow_are_as_alike_as_they_are():
    """States of nothing but a bias are one for all examples at every step, whatever size they have come to."""
    model = Largest(nn.LSTM)
    with torch.no_grad():
        model.states.weight_ih_l0.zero_()
    row = predict(model, STEPS)["pooled"]
    assert row.c == pytest.approx(1, abs=1e-3)
