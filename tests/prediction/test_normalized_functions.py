"""Norms behind functions: what a rectifier or a pool meets behind them is as lopsided as it was in front."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import hermite, predict
from steadygrad.prediction.operators.normalized_functions import _of_what_differs
from steadygrad.prediction.propagation import on_sphere
from steadygrad.prediction.source import Source
from steadygrad.prediction.spread import CERTAIN

DRAWS, APPROXIMATE = 32, 0.15  # of the log
IMAGES = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(32, 20, generator=torch.Generator().manual_seed(1))


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def pooled(norm, function=nn.ReLU):
    return lambda: nn.Sequential(
        conv(3, 16), function(), norm(16), nn.MaxPool2d(2), conv(16, 16), function(), norm(16), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 5),
    )  # fmt: skip


def rectified_twice(norm):
    return lambda: nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), norm(64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), norm(64), nn.Tanh(),
        nn.Linear(64, 5),
    )  # fmt: skip


CASES = {
    "batch norm, pooled": (pooled(nn.BatchNorm2d), IMAGES),
    "batch norm of GELU, pooled": (pooled(nn.BatchNorm2d, nn.GELU), IMAGES),
    "instance norm, pooled": (pooled(nn.InstanceNorm2d), IMAGES),
    "group norm, pooled": (pooled(lambda n: nn.GroupNorm(4, n)), IMAGES),
    "batch norm, rectified": (rectified_twice(nn.BatchNorm1d), VECTORS),
    "layer norm, rectified": (rectified_twice(nn.LayerNorm), VECTORS),
}


@pytest.mark.parametrize("case", CASES)
def test_signals_and_gradients_agree_with_draws(case):
    factory, x = CASES[case]
    labels = torch.arange(len(x)) % 5
    profile, drawn = predict(factory, x, labels, loss_fn=F.cross_entropy), []
    assert not profile.unknown
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(measure(factory(), x, labels, F.cross_entropy))
    for i, row in enumerate(profile):
        for name in ("q", "signal", "grad_q"):
            logs = np.log([getattr(p.layers[i], name) for p in drawn])
            error = abs(np.log(getattr(row, name)) - np.median(logs))
            assert error < APPROXIMATE + 4 * 1.25 * logs.std() / DRAWS**0.5, (row.path, name)


@pytest.mark.parametrize("function", [torch.relu, F.gelu, torch.tanh, torch.exp])
def test_of_units_that_have_nothing_in_common_the_function_itself_is_left(function):
    z, w = hermite.tables()[:2]
    values = function(torch.from_numpy(z)).numpy()
    found = _of_what_differs(values, 0.0, 64)
    mean, size = values @ w, np.sqrt(values**2 @ w - (values @ w) ** 2)
    assert found.values == pytest.approx((values - mean) / size, abs=1e-9)
    assert found.squares == pytest.approx(np.ones(len(z)), abs=1e-9)


@pytest.mark.parametrize("common", [0.0, 0.3, 0.9, 0.999])
def test_units_are_left_with_mean_zero_and_variance_one(common):
    """A rectified unit whose entries hardly differ is on or off for all: what differs is a line."""
    z, w = hermite.tables()[:2]
    found = _of_what_differs(np.maximum(z, 0.0), common, 64)
    assert found.values @ w == pytest.approx(0, abs=1e-9)
    assert found.values**2 @ w == pytest.approx(1)
    assert found.squares @ w == pytest.approx(1, rel=1e-5)
    if common > 0.99:
        assert (found.values * z) @ w > 0.97


def test_of_nothing_but_zeros_there_is_no_function():
    assert _of_what_differs(np.zeros(len(hermite.tables()[0])), 0.5, 64) is None


@pytest.mark.parametrize("k", [3.0, 5.0, 20.0])
def test_a_norm_fixes_the_second_moment_of_its_own_function(k):
    """Of heavy tails a sphere of few dimensions would cut off what the norm says is there; a constant has no size."""
    z = hermite.tables()[0]
    heavy = np.sinh(z)
    source = Source(np.zeros(2), np.ones(2), np.ones((2, 2)), 16, CERTAIN, CERTAIN, 2.0, sphere=k, normed=heavy)
    assert on_sphere(source, heavy[None]) == pytest.approx(1)
    assert on_sphere(source, np.ones((1, len(z)))) == pytest.approx(1)
    assert on_sphere(source, np.maximum(heavy, 0.0)[None]) == pytest.approx(1, abs=0.01)
