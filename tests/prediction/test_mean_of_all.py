"""What a mean over all places leaves behind norms, functions and windows, where lags say too little."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import in_all, predict
from steadygrad.prediction.field import Field
from steadygrad.prediction.mean_of_all import behind_windows, sums_by_tap
from steadygrad.prediction.taps import Taps

DRAWS, APPROXIMATE = 32, 0.2  # of the log
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ORDERS = 1e-12  # rounding


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


NETWORKS = {
    "a function of instances": lambda: nn.Sequential(conv(3, 16), nn.InstanceNorm2d(16), nn.ReLU(), Mean()),
    "a layer of instances": lambda: nn.Sequential(conv(3, 16), nn.InstanceNorm2d(16), conv(16, 16), Mean()),
    "groups that are nearly alike": lambda: nn.Sequential(
        conv(3, 16), nn.Sigmoid(), nn.GroupNorm(4, 16), nn.Sigmoid(), conv(16, 16), Mean()
    ),
    "a product": lambda: nn.Sequential(conv(3, 16), nn.InstanceNorm2d(16), nn.SiLU(), Gate(), Mean()),
    "an odd function of a batch": lambda: nn.Sequential(
        conv(3, 16), nn.ReLU(), conv(16, 16), nn.BatchNorm2d(16), nn.Tanh(), Mean()
    ),
}


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.value, self.gate = conv(16, 16), conv(16, 16)

    def forward(self, x):
        return self.value(x) * torch.sigmoid(self.gate(x))


@pytest.mark.parametrize("case", NETWORKS)
def test_means_behind_norms_are_those_of_draws(case):
    """Sums and squares that a norm fixes are in no mean over places, but for what borders of zeros leave of them."""
    factory = NETWORKS[case]
    found = predict(factory, IMAGES).layers[-1]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        row = measure(factory(), IMAGES).layers[-1]
        drawn.append((np.log(row.q), np.log(row.signal)))
    logs = np.array(drawn)
    error = np.abs(np.log([found.q, found.signal]) - np.median(logs, 0))
    assert (error < APPROXIMATE + 5 * 1.2533 * logs.std(0) / DRAWS**0.5).all()


def stationary(sizes, seed):
    """Products of places of a draw that depend on their lag, of an example and of two."""
    rng = np.random.default_rng(seed)
    own, other = (rng.uniform(-0.2, 0.2, sizes) for _ in range(2))
    own.flat[0] = 1.0
    return Field(np.ones(sizes), 1 - own, 1 - other)


@pytest.mark.parametrize("axis", [
    Taps(7, 7, 3, 1, 1, 1, transposed=False),
    Taps(7, 4, 3, 2, 1, 1, transposed=False),
    Taps(7, 5, 3, 1, 0, 1, transposed=False),
    Taps(5, 5, 3, 1, 2, 2, transposed=False),
])  # fmt: skip
def test_windows_leave_of_a_mean_what_sums_over_their_taps_do(axis):
    """Where the mean is as lags say it, it is Σ over taps of the products of all places that a tap meets."""
    other = Taps(4, 4, 3, 1, 1, 1, transposed=False)
    field = stationary((axis.size, other.size), 0)
    own, two = (1 - gap for gap in field.mean_by_lag())
    field = replace(field, in_all=(own, two))
    places = [a.places() for a in (axis, other)]
    sums = np.zeros(2)
    for i in range(3):
        for j in range(3):
            met = [p[:, t][inside[:, t]] for (p, inside), t in zip(places, (i, j), strict=True)]
            at = np.stack(np.meshgrid(*met, indexing="ij"), -1).reshape(-1, 2)
            lag = tuple(np.abs(at[:, None] - at).transpose(2, 0, 1))
            sums += [(1 - field.within[lag]).sum(), (1 - field.across[lag]).sum()]
    lags = np.array(sums_by_tap(field, [axis, other])) * 9
    few = [np.prod([x.out for x in (axis, other)]), np.prod([inside.sum() for _, inside in places])]
    if axis.stride > 1:  # of a whole grid, by the places that are met: lags tell these
        assert np.allclose(lags, sums, rtol=1e-9)
    assert np.allclose(np.array(behind_windows(field, [axis, other])) * few[0] * few[1], lags, rtol=1e-9)


def test_a_mean_of_nothing_is_left_what_lies_at_the_border():
    """Of white noise without its mean a tap that misses a border row is left that row: n (1 - n/N) of N places."""
    size = 6
    axes = [Taps(size, size, 3, 1, 1, 1, transposed=False)] * 2
    count = size * size
    gap = np.full((size, size), 1 + 1 / (count - 1))
    gap.flat[0] = 0.0
    field = Field(np.ones((size, size)), gap, np.ones((size, size)), in_all=(0.0, 0.0))
    missed = [size * (i != 1) + size * (j != 1) - (i != 1) * (j != 1) for i in range(3) for j in range(3)]
    expected = np.mean([n * (1 - n / count) * count / (count - 1) for n in missed])
    assert sums_by_tap(field, axes)[0] == pytest.approx(expected, rel=1e-9)


def test_a_product_of_a_mean_of_nothing_and_of_a_number_has_none():
    """The mean of x y is nothing where y is one number and that of x is."""
    sizes = (5, 5)
    x = replace(stationary(sizes, 1), in_all=(0.0, 0.0))
    one = Field(np.ones(sizes), np.zeros(sizes), np.zeros(sizes))
    assert np.allclose(in_all.met(x, one), 0.0, atol=ORDERS)
    assert x.met(one).mean() == pytest.approx((1.0, 1.0), abs=ORDERS)


def test_a_sum_has_the_means_of_its_terms():
    x, y = (replace(stationary((4, 4), seed), in_all=(0.1 * seed, 0.05)) for seed in (1, 2))
    assert x.mixed(0.25, y, 0.75).in_all == pytest.approx((0.175, 0.05))
