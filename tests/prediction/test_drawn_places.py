"""Samples over places: what two places of an example have in common, and two of two examples."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import drawn_places, predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.drawn_places import among
from steadygrad.prediction.field import Field
from steadygrad.prediction.kin_draws import root
from steadygrad.prediction.source import Source
from steadygrad.prediction.spread import CERTAIN

DRAWS, APPROXIMATE = 24, 0.2  # of the log
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 5


def source(common, places, near):
    """Two examples that share a number, and at each place what is alike at near ones only."""
    lags = np.arange(places)
    own = common + (1 - common) * near**lags
    field = Field(np.ones(places), 1 - own, np.full(places, 1 - common))
    gap = np.array([[0.0, 1 - common], [1 - common, 0.0]])
    return Source(np.zeros(2), np.ones(2), gap, 8, CERTAIN, CERTAIN, 0.0, field=field)


@pytest.mark.parametrize("common", [0.0, 0.5, 0.95])
def test_places_have_in_common_what_the_field_says(common):
    """The covariance of samples is that of two examples that share a number: linear, so it is known exactly."""
    places, near = 5, 0.3
    known = source(common, places, near)
    factor = root(1 - known.gap)
    unit = np.eye(2 * places).reshape(2 * places, 2, places, 1)  # a draw for each normal
    mixed = among(known, (places,), exchangeable(2)).mixed(np.einsum("ij,sjpf->sipf", factor, unit))
    flat = mixed.reshape(2 * places, -1)
    lag = np.abs(np.arange(places)[:, None] - np.arange(places))
    own, other = common + (1 - common) * near**lag, np.full((places, places), common)
    assert np.allclose(flat.T @ flat, np.block([[own, other], [other, own]]), atol=1e-9)


def test_of_very_many_places_any_two_have_in_common_what_all_have_on_average(monkeypatch):
    places, common = 6, 0.4
    known = source(common, places, 0.0)
    monkeypatch.setattr(drawn_places, "MOST_PLACES", places - 1)
    factor = root(1 - known.gap)
    unit = np.eye(2 * (places + 1)).reshape(-1, 2, places + 1, 1)
    mixed = among(known, (places,), exchangeable(2)).mixed(np.einsum("ij,sjpf->sipf", factor, unit))
    flat = mixed.reshape(len(unit), -1)
    own, other = np.full((places, places), common) + (1 - common) * np.eye(places), np.full((places, places), common)
    assert np.allclose(flat.T @ flat, np.block([[own, other], [other, own]]), atol=1e-9)


class Largest(nn.Module):
    def forward(self, x):
        return x.amax((2, 3))


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def shared():
    return nn.Sequential(conv(3, 16), nn.Softplus(), conv(16, 16), nn.Softplus(), Largest(), nn.Linear(16, 5))


def normed():
    return nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.Tanh(), Largest(), nn.Linear(16, 5))


def test_largest_of_places_that_share_most_are_nearly_alike():
    """Examples that differ at each place by little of their own have largest ones that differ by less."""
    found = predict(shared, IMAGES).layers[4]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(np.log(measure(shared(), IMAGES).layers[4].signal))
    error = 1.2533 * np.std(drawn) / DRAWS**0.5
    assert abs(np.log(found.signal) - np.median(drawn)) < APPROXIMATE + 5 * error


def test_a_scale_meets_the_largest_where_they_are():
    """A gradient that comes from the largest places meets what a norm made of these: large numbers of one sign."""
    found = predict(normed, IMAGES, LABELS, loss_fn=F.cross_entropy).parameter_grad_norms
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        norms = measure(normed(), IMAGES, LABELS, F.cross_entropy).parameter_grad_norms
        drawn.append([np.log(norms[name]) for name in ("1.weight", "1.bias")])
    logs = np.array(drawn)
    error = np.abs(np.log([found["1.weight"], found["1.bias"]]) - np.median(logs, 0))
    assert (error < APPROXIMATE + 5 * 1.2533 * logs.std(0) / DRAWS**0.5).all()
