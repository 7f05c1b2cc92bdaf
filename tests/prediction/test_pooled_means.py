"""Means over places, of what dropout thins and borders cut: q and 1 - c against draws."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict

WIDTH, DRAWS = 64, 200
OF_MEANS = 0.08  # of logs: means by lag, places that count as alike


def conv(inputs):
    return nn.Conv2d(inputs, WIDTH, 3, padding=1)


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def stack(*layers):
    return lambda: nn.Sequential(conv(3), nn.ReLU(), *(make() for make in layers), nn.Flatten())


def globally():
    return nn.AdaptiveAvgPool2d(1)


class PathDropped(nn.Module):
    """Each example kept whole, or not at all."""

    def forward(self, x):
        return x * torch.empty(len(x), 1, 1, 1).bernoulli_(0.7) / 0.7


CASES = {
    "dropout": (stack(lambda: nn.Dropout(0.4), globally), (4, 3, 6, 6)),
    "dropout of channels": (stack(lambda: nn.Dropout2d(0.4), globally), (4, 3, 6, 6)),
    "dropout of examples": (stack(PathDropped, globally), (64, 3, 6, 6)),
    "dropout, many places": (stack(lambda: nn.Dropout(0.4), globally), (4, 3, 20, 20)),
    "zeros at a border": (stack(lambda: nn.AvgPool2d(3, 1, 1)), (4, 3, 6, 6)),
    "zeros at a border, many places": (stack(lambda: nn.AvgPool2d(3, 1, 1)), (4, 3, 20, 20)),
    "fewer at a border": (stack(lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False)), (4, 3, 6, 6)),
    "fewer at a border, many places": (
        stack(lambda: nn.AvgPool2d(5, 5, 2, count_include_pad=False)),
        (4, 3, 20, 20),
    ),
    "windows that go beyond the padding": (stack(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True)), (4, 3, 6, 6)),
    "a divisor of its own": (stack(lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5)), (4, 3, 6, 6)),
    "as many windows as do not divide": (stack(lambda: nn.AdaptiveAvgPool2d(4)), (4, 3, 6, 6)),
    "more windows than places": (stack(lambda: nn.AdaptiveAvgPool2d(9), lambda: conv(WIDTH)), (4, 3, 6, 6)),
    "as many windows as do not divide many places": (stack(lambda: nn.AdaptiveAvgPool2d(6)), (4, 3, 20, 20)),
    "largest": (stack(lambda: nn.MaxPool2d(2)), (4, 3, 20, 20)),
    "largest, overlapping": (stack(lambda: nn.MaxPool2d(3, 2, 1)), (4, 3, 20, 20)),
    "largest of largest": (
        stack(lambda: nn.MaxPool2d(2), lambda: conv(WIDTH), nn.ReLU, lambda: nn.MaxPool2d(2)),
        (4, 3, 20, 20),
    ),
    "largest behind batch norms": (
        stack(lambda: nn.MaxPool2d(2), lambda: conv(WIDTH), lambda: nn.BatchNorm2d(WIDTH), nn.ReLU, globally),
        (4, 3, 20, 20),
    ),
    "without channels": (
        lambda: nn.Sequential(nn.Linear(16, WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d((1, WIDTH)), nn.Flatten()),
        (4, 12, 16),
    ),
}


@torch.no_grad()
def drawn(make, x):
    """Logs of q and 1 - c of what a network makes of a batch, [draws, 2]."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        y = make()(x)
        q = y.square().mean()
        found.append([float(q.log()), float((y.var(0).mean() / q).log())])
    return np.array(found)


@pytest.mark.parametrize("name", CASES)
def test_means_have_the_predicted_size_and_distance_of_examples(name):
    """Of the median draw, within four standard errors and what places that are not alike make of it."""
    torch.set_num_threads(1)
    make, shape = CASES[name]
    x = images(*shape)
    logs, row = drawn(make, x), list(predict(make, x))[-1]
    off = np.log([row.q, row.signal / row.q]) - np.median(logs, 0)
    error = 4 * 1.2533 * logs.std(0) / DRAWS**0.5
    assert (abs(off) <= error + OF_MEANS).all(), (off, error)


def test_the_largest_of_places_that_are_apart_is_unknown():
    """And says so: the rest of the network is not predicted from what neighbours would be."""
    made = predict(stack(lambda: nn.MaxPool2d(2, dilation=2)), images(4, 3, 6, 6))
    assert "next to each other" in str(made)
    assert next(iter(made)).q > 0
