"""Circular padding is a selection of places, and what is predicted of convolutions behind it agrees with draws."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.circular import CircularPads

from .test_positions import seeded

WIDTHS = {
    (2, 3, 5): [(1, 2), (0, 0), (5, 5)],
    (2, 3, 5, 6): [(1, 2, 3, 0), (6, 6, 5, 5)],
    (2, 3, 4, 5, 6): [(1, 1, 2, 2, 0, 3)],
}


@pytest.mark.parametrize(("shape", "widths"), [(shape, w) for shape, all_of in WIDTHS.items() for w in all_of])
def test_it_is_what_torch_makes(shape, widths):
    x = seeded(*shape).requires_grad_()
    expected = F.pad(x, widths, mode="circular")
    with CircularPads():
        found = F.pad(x, widths, "circular")
    assert torch.equal(found, expected)
    g = torch.randn_like(expected)
    one, other = (torch.autograd.grad(y, x, g)[0] for y in (found, expected))
    torch.testing.assert_close(one, other)


def test_what_torch_refuses_is_refused_in_its_words():
    x = seeded(2, 3, 5)
    with pytest.raises(RuntimeError) as expected:
        F.pad(x, (6, 0), mode="circular")
    with CircularPads(), pytest.raises(RuntimeError) as found:
        F.pad(x, (6, 0), mode="circular")
    assert str(found.value) == str(expected.value)


def test_other_padding_is_left_alone():
    x = seeded(2, 3, 5)
    with CircularPads():
        assert torch.equal(F.pad(x, (1, 1)), F.pad(x, (1, 1), mode="constant"))


def network(conv, pool):
    layers = [conv(3, 16, 3, padding=1, padding_mode="circular"), nn.ReLU()]
    layers += [conv(16, 16, 3, padding=1, padding_mode="circular"), nn.ReLU()]
    return nn.Sequential(*layers, pool(1), nn.Flatten(), nn.Linear(16, 4))


@pytest.mark.parametrize(
    ("conv", "pool", "shape"),
    [(nn.Conv1d, nn.AdaptiveAvgPool1d, (8, 3, 16)), (nn.Conv2d, nn.AdaptiveAvgPool2d, (8, 3, 8, 8))],
)
def test_convolutions_agree_with_draws(conv, pool, shape):
    """The medians of q and grad_q of all rows, within 0.1 or four standard errors of 120 draws."""
    x = seeded(*shape)
    profile = predict(lambda: network(conv, pool), x)
    assert not profile.unknown
    drawn = []
    for seed in range(120):
        torch.manual_seed(seed)
        drawn.append([(row.q, row.grad_q) for row in measure(network(conv, pool), x)])
    logs = np.log(drawn)
    off = np.abs(np.log([(row.q, row.grad_q) for row in profile]) - np.median(logs, 0))
    error = 4 * (np.pi / 2 / len(drawn)) ** 0.5 * logs.std(0)
    assert (off < np.maximum(error, 0.1)).all(), off
