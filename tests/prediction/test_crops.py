"""Losses of more entries than can be sampled, each entry by itself, held against draws."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict
from steadygrad.prediction.draws import BUDGET, FEWEST_DRAWS

from .test_likelihoods import drawn

DRAWS = 24
OF_THE_PART = 0.05  # what neighbouring positions, and fewest draws, leave open


def rng(seed):
    return torch.Generator().manual_seed(seed)


def smooth(noise):
    return 3 * F.avg_pool2d(noise, 7, 1, 3)


IMAGES = torch.randn(16, 3, 56, 56, generator=rng(0))
MAPS = smooth(torch.randn(16, 3, 56, 56, generator=rng(1)))
ONE = torch.randn(1, 3, 224, 224, generator=rng(8))
STEPS = torch.randn(32, 64, 32, generator=rng(2))
PATHS = torch.randn(32, 64, 80, generator=rng(3))
ROWS, SHADES = torch.randn(256, 32, generator=rng(4)), torch.rand(256, 784, generator=rng(5))


def convolutional(*last):
    return lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1), *(part() for part in last)
    )


def of_steps():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 80))


def wide():
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid())


CASES = {
    "mse": (convolutional(), IMAGES, IMAGES, F.mse_loss),
    "l1": (convolutional(), IMAGES, MAPS, F.l1_loss),
    "huber": (of_steps, STEPS, PATHS, F.huber_loss),
    "smooth l1, summed": (of_steps, STEPS, PATHS, lambda o, y: F.smooth_l1_loss(o, y, reduction="sum") / len(y)),
    "bce with logits": (convolutional(), IMAGES, (MAPS > 0).float(), F.binary_cross_entropy_with_logits),
    "bce": (wide, ROWS, SHADES, F.binary_cross_entropy),
    "written by hand": (convolutional(), IMAGES, MAPS, lambda o, y: ((o - y) ** 2).mean()),
    "by example": (convolutional(), IMAGES, MAPS, lambda o, y: ((o - y) ** 2).sum((1, 2, 3)).mean()),
    "one image": (convolutional(), ONE, smooth(ONE), F.mse_loss),
    "a sum by hand": (convolutional(nn.Tanh), IMAGES, MAPS, lambda o, y: (o - y).abs().sum() / len(y)),
    "one for all": (convolutional(), IMAGES, torch.ones(3, 1, 1), lambda o, y: F.mse_loss(o, y.expand_as(o))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_agree_with_draws(case):
    """Mean loss and medians of 24 draws, within five standard errors and .05."""
    factory, x, y, loss_fn = CASES[case]
    torch.manual_seed(0)
    assert factory()(x).numel() * FEWEST_DRAWS > BUDGET
    profile = predict(factory, x, y, loss_fn=loss_fn)
    assert not profile.unknown
    losses, rows = drawn(factory, x, y, loss_fn, DRAWS)
    assert abs(profile.loss / np.mean(losses) - 1) < 5 * np.std(losses) / np.mean(losses) / DRAWS**0.5 + 0.01
    error = 5 * math.sqrt(math.pi / 2 / DRAWS) * np.std(rows, axis=0) + OF_THE_PART
    for row, median, allowed in zip(profile, np.median(rows, axis=0), error, strict=True):
        assert abs(math.log(row.grad_q) - median) < allowed, row.path
    assert all(norm > 0 for norm in profile.parameter_grad_norms.values())


def test_what_mixes_entries_of_a_part_is_unknown_by_its_line():
    profile = predict(convolutional(), IMAGES, MAPS, loss_fn=lambda o, y: (o - y).abs().amax(1).mean())
    assert any("test_crops.py" in words for words in profile.unknown)
    assert math.isnan(profile.loss)
    assert all(row.q > 0 for row in profile)


def test_a_batch_of_more_examples_than_samples_hold_is_said_to_be_unknown():
    x, y = torch.randn(140_000, 2, generator=rng(6)), torch.randn(140_000, 3, generator=rng(7))
    assert len(x) * FEWEST_DRAWS > BUDGET
    profile = predict(lambda: nn.Linear(2, 3), x, y, loss_fn=F.mse_loss)
    assert any("mse_loss of a tensor that cannot be sampled" in words for words in profile.unknown)
    assert profile.layers[0].q > 0
