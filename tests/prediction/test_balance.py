"""Gradients of biases, scales and weights in front of functions in front of norms: what the norms take out of them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, APPROXIMATE = 24, 0.2  # of the log
ROUNDING = 1e-5  # of the largest gradient: what single precision leaves of a sum that is none
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 5


def conv(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def headed(*layers, places=64):
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(16 * places, 5))


def batch():
    return nn.BatchNorm2d(16)


NOTHING = {
    "a scale in front of a rectifier": (lambda: headed(conv(3, 16), batch(), nn.ReLU(), batch()), ["1.weight"]),
    "a scale and a shift in front of a norm": (
        lambda: headed(conv(3, 16), batch(), batch()),
        ["0.bias", "1.weight", "1.bias"],
    ),
    "a shift in front of norms of images": (
        lambda: headed(conv(3, 16), batch(), nn.InstanceNorm2d(16)),
        ["0.bias", "1.bias"],
    ),
    "a mean pool between": (lambda: headed(conv(3, 16), nn.AvgPool2d(2), batch(), places=16), ["0.bias"]),
    "behind a mean pool": (
        lambda: headed(conv(3, 16), nn.AvgPool2d(2), conv(16, 16), batch(), places=16),
        ["2.bias"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTHING)
def test_what_a_norm_behind_takes_out_has_no_gradient(case):
    """A norm is blind to a shift and to a scale, and a rectifier to a scale: the sums are nothing, whatever comes."""
    factory, names = NOTHING[case]
    found = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy).parameter_grad_norms
    torch.manual_seed(0)
    drawn = measure(factory(), IMAGES, LABELS, F.cross_entropy).parameter_grad_norms
    for name in names:
        assert found[name] <= ROUNDING * max(found.values())
        assert drawn[name] <= ROUNDING * max(drawn.values())


LEFT = {
    "a bias": (lambda: headed(conv(3, 16), nn.SiLU(), batch()), ["0.bias", "0.weight"]),
    "a bias of what is nearly constant": (
        lambda: headed(conv(3, 16), nn.Softplus(), conv(16, 16), nn.Sigmoid(), batch()),
        ["0.bias", "2.bias", "2.weight"],
    ),
    "a bias and a pool": (
        lambda: headed(conv(3, 16), nn.Tanh(), nn.MaxPool2d(2), batch(), places=16),
        ["0.bias"],
    ),
    "a bias of instances": (lambda: headed(conv(3, 16), nn.SiLU(), nn.InstanceNorm2d(16)), ["0.bias"]),
    "a scale": (lambda: headed(conv(3, 16), batch(), nn.GELU(), batch()), ["1.weight", "1.bias"]),
    "a bias of a layer in front": (
        lambda: headed(conv(3, 16), nn.SiLU(), conv(16, 16), batch()),
        ["0.bias", "0.weight", "2.weight"],
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_of_a_function_in_front_of_a_norm_the_rest_is_left(case):
    """What of its slope is neither a number nor the function itself."""
    factory, names = LEFT[case]
    found = predict(factory, IMAGES, LABELS, loss_fn=F.cross_entropy).parameter_grad_norms
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        norms = measure(factory(), IMAGES, LABELS, F.cross_entropy).parameter_grad_norms
        drawn.append([np.log(norms[name]) for name in names])
    logs = np.array(drawn)
    off = np.abs(np.log([found[name] for name in names]) - np.median(logs, 0))
    assert (off < APPROXIMATE + 5 * 1.2533 * logs.std(0) / DRAWS**0.5).all(), off
