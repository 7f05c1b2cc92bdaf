"""Functions with a mean at places whose variances differ: what these have in common is the means and the rest."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.field import Field
from steadygrad.prediction.uneven_means import beside_means

from .test_positions import seeded

DRAWS, APPROXIMATE = 24, 0.1
IMAGES = seeded(16, 3, 16, 16)


def field_of(correlation, count):
    lags = np.append(0.0, np.full(count - 1, 1 - correlation))
    return Field(np.ones(count), lags, np.full(count, 1 - correlation))


def test_independent_places_have_their_means_in_common():
    means, squares = np.array([1.0, 1.1, 1.3]), np.array([1.5, 2.0, 3.0])
    mean, square = 1.1, 2.0
    found = beside_means(field_of(mean**2 / square, 3), means, squares, (mean, square))
    size = squares.mean()
    expected = [(means**2).mean(), (means[:-1] * means[1:]).mean(), means[0] * means[2]]
    assert 1 - found.across == pytest.approx(np.array(expected) / size)
    assert found.within[0] == 0
    assert 1 - found.within[1:] == pytest.approx(np.array(expected[1:]) / size)


def test_without_a_mean_deviations_are_multiplied():
    squares = np.array([0.5, 1.0, 1.5])
    field = field_of(0.3, 3)
    found, other = beside_means(field, np.zeros(3), squares, (0.0, 1.0)), field.shaped(squares)
    assert found.within == pytest.approx(other.within)
    assert found.across == pytest.approx(other.across)


def test_a_norm_over_places_leaves_no_pattern_where_the_mean_has_none():
    """Zeros at the border make softplus vary by half as much there, and its mean by 0.2%."""

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.Softplus(),
            nn.AvgPool2d(2),
            nn.InstanceNorm2d(32),
        )

    row, drawn = predict(make, IMAGES)["6"], []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found = measure(make(), IMAGES)["6"]
        drawn.append(found.signal / found.q)
    assert row.signal / row.q == pytest.approx(np.median(drawn), abs=APPROXIMATE)
