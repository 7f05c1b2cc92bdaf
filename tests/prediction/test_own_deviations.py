"""Norms of units whose variances differ: what examples differ by where a pattern that all share is most of it."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.field import Field
from steadygrad.prediction.operators.own_deviations import QUANTILES, divided

DRAWS, APPROXIMATE = 24, 0.25  # of the log: of directions that lags do not tell
SAMPLES = 200_000
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def field(common, patterns):
    """Places of which examples share a pattern that so many of them repeat, and are independent beside it."""
    n = 16
    other = np.zeros(n)
    other[:: n // patterns] = common
    own = other.copy()
    own[0] = 1.0
    return Field(np.ones(n), 1 - own, 1 - other)


@pytest.mark.parametrize("common", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("group", [4, 8])
def test_examples_differ_by_the_mean_of_what_each_unit_is_left(common, group):
    """E[a/(a + c)] and E[1/(a + c)] of gamma variables with as many degrees as there are directions."""
    known = field(common, 4)
    shared = group / float((known.weights * (1 - known.across) ** 2).sum() / common**2)
    own = group / float((known.weights * (known.across - known.within) ** 2).sum() / (1 - common) ** 2)
    rng = np.random.default_rng(0)
    a, c = (1 - common) * rng.chisquare(own, SAMPLES) / own, common * rng.chisquare(shared, SAMPLES) / shared
    found, left = divided(known, group), a / (a + c)
    tails = 1 / QUANTILES  # of a mean over quantiles
    assert found.apart * (1 - common) == pytest.approx(left.mean(), rel=tails + 5 * left.std() / SAMPLES**0.5)
    assert found.apart * (1 - common) + found.common * common == pytest.approx(1.0)
    assert found.share == pytest.approx(1 / (1 / (a + c)).mean(), rel=4 * tails)


def test_units_that_share_nothing_are_divided_alike():
    known = field(0.0, 4)
    found = divided(known, 1)
    assert (found.apart, found.common) == (1.0, 1.0)
    assert (found.field(known).within == known.within).all()


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_images_that_are_nearly_alike_differ_most_where_a_unit_has_little_else(norm):
    """Behind functions with a large mean zeros at the borders print a pattern on all images alike."""

    def factory():
        return nn.Sequential(conv(3, 16), nn.Sigmoid(), conv(16, 16), nn.Softplus(), conv(16, 16), norm(16))

    found = predict(factory, IMAGES).layers[-1]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(np.log(measure(factory(), IMAGES).layers[-1].signal))
    error = 1.2533 * np.std(drawn) / DRAWS**0.5
    assert abs(np.log(found.signal) - np.median(drawn)) < APPROXIMATE + 5 * error
