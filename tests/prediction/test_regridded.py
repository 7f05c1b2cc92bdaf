"""Places of one axis that are those of a grid: what goes back through a flattened image, and lags on both."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict
from steadygrad.prediction.field import Field, white
from steadygrad.prediction.regridded import regridded

WIDTH = 32
OF_BORDERS = 0.03  # of logs: a grid tells places at borders apart, one axis does not

MEANS = {
    "over both axes": lambda x: x.mean((2, 3)),
    "over a flattened image": lambda x: x.flatten(2).mean(2),
    "over a view": lambda x: x.view(len(x), WIDTH, -1).mean(-1),
    "over tokens": lambda x: x.flatten(2).transpose(1, 2).mean(1),
    "one axis after the other": lambda x: x.mean(3).mean(2),
}


class Averaged(nn.Module):
    """Two convolutions, with a norm or without, and a mean over all places."""

    def __init__(self, norm, mean):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, WIDTH, 3, padding=1), norm(WIDTH)
        self.second, self.head, self.mean = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, 8), mean

    def forward(self, x):
        return self.head(self.mean(torch.relu(self.second(torch.relu(self.norm(self.first(x)))))))


def gradients(norm, mean):
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = predict(lambda: Averaged(norm, mean), x, targets=torch.arange(8), loss_fn=nn.CrossEntropyLoss())
    return {**found.parameter_grad_norms, **{row.path: row.grad_q**0.5 for row in found}}


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d, nn.InstanceNorm2d])
@pytest.mark.parametrize("mean", [mean for mean in MEANS if mean != "over both axes"])
def test_how_a_mean_over_places_is_written_does_not_matter_to_gradients(norm, mean):
    expected, found = gradients(norm, MEANS["over both axes"]), gradients(norm, MEANS[mean])
    assert found.keys() == expected.keys()
    apart = {name: abs(math.log(found[name] / expected[name])) for name in found if expected[name] > 0}
    assert max(apart.values()) < OF_BORDERS, apart


def by_pairs(field, sizes):
    """The mean over all pairs of places at each lag of a grid, one at a time."""
    within, counts = np.zeros(sizes), np.zeros(sizes)
    places = list(np.ndindex(*sizes))
    for i, p in enumerate(places):
        for j, q in enumerate(places):
            lag = tuple(abs(a - b) for a, b in zip(p, q, strict=True))
            within[lag] += field.within[abs(i - j)]
            counts[lag] += 1
    return within / counts


@pytest.mark.parametrize("sizes", [(2, 3), (3, 4), (2, 3, 2), (1, 12), (12, 1)])
def test_lags_of_a_grid_are_means_over_pairs_of_places(sizes):
    n = math.prod(sizes)
    gaps = np.concatenate([[0.0], np.random.default_rng(0).uniform(0, 1, n - 1)])
    share = np.random.default_rng(1).uniform(0.5, 1.5, n)
    field = Field(share, gaps, gaps / 2, 0.1)
    found = regridded(field, sizes)
    assert found.within == pytest.approx(by_pairs(field, sizes), rel=1e-12)
    assert found.across == pytest.approx(found.within / 2, rel=1e-12)
    assert found.share.reshape(-1) == pytest.approx(share)
    assert found.varied == pytest.approx(0.1)


def test_what_is_alike_at_all_lags_is_so_on_any_grid():
    before = white((4, 3), 0.25, 0.5, 0.5, 0.1)
    for sizes in ((12,), (2, 6), (3, 4)):
        found = regridded(before, sizes)
        assert found.mean() == pytest.approx(before.mean())
    assert regridded(before, (4, 3)) is before
    assert regridded(before, (5, 3)) is None
