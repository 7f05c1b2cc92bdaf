"""Zero padding: windows at a border have fewer terms, and a plan counts those that are there."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.init import plan
from steadygrad.init.schemes.second_moments import largest


def deep(depth, width=32, mode="zeros"):
    channels = [3] + [width] * depth
    layers = [
        m for i in range(depth) for m in (nn.Conv2d(channels[i], width, 3, padding=1, padding_mode=mode), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_first_layer_is_scaled_by_the_taps_that_are_there():
    """Of 8 x 8 windows of 3 x 3, (22/24)² of the taps lie inside."""
    padded, whole = (plan(deep(2, mode=mode), IMAGES)["0.weight"].recipe.rms for mode in ("zeros", "circular"))
    assert padded**2 * (22 / 24) ** 2 == pytest.approx(whole**2, rel=1e-6)


def test_the_share_tends_to_the_largest_eigenvalue_of_the_mean_over_windows():
    """(1 + 2 cos(π/9))/3 an axis for 8 positions, as convolving shows."""
    made, share, inside = plan(deep(12), IMAGES), np.ones(8), []
    for _ in range(12):
        summed = np.convolve(share, np.ones(3), "same")
        inside.append(summed.mean() / share.mean() / 3)
        share = summed
    ratio = (made["2.weight"].recipe.rms / made["22.weight"].recipe.rms) ** 2
    assert ratio == pytest.approx((inside[11] / inside[1]) ** 2, rel=1e-6)
    assert inside[11] == pytest.approx((1 + 2 * math.cos(math.pi / 9)) / 3, rel=1e-3)


def test_a_deep_padded_network_keeps_its_signal_and_its_gradient():
    """30 layers on 8 x 8: medians of 40 draws within a factor of 4; a factor of 5 is lost where borders count whole."""
    torch.set_num_threads(1)
    model = deep(30)
    made, logs = plan(model, IMAGES), []
    convolutions = [m for m in model if isinstance(m, nn.Conv2d)]
    for seed in range(40):
        made.apply_(seed=seed)
        outputs = []
        handles = [m.register_forward_hook(lambda m, a, y, seen=outputs: seen.append(y)) for m in convolutions]
        y = model(IMAGES)
        for handle in handles:
            handle.remove()
        grads = torch.autograd.grad(y, outputs, torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
        logs.append([[float(t.detach().double().square().mean().log()) for t in column] for column in (outputs, grads)])
    medians = np.median(logs, 0)
    assert (np.ptp(medians, axis=1) < math.log(4)).all()


def test_the_largest_of_a_window_is_as_much_larger_as_drawn():
    """E[max(z_1 ... z_4, 0)²]/E[max(z, 0)²] of 200,000 draws, within five standard errors."""
    z = np.random.default_rng(0).standard_normal((200_000, 4))
    top = np.maximum(z.max(1), 0) ** 2 / 0.5
    assert abs(largest(4.0) - top.mean()) < 5 * top.std() / len(top) ** 0.5


def test_signal_and_gradient_move_alike_where_the_largest_is_taken():
    """The layer behind takes back the root of what the largest of four is larger by."""
    made, plain = (
        plan(nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), pool, nn.Conv2d(16, 16, 1), nn.ReLU(), *head(size)), IMAGES)
        for pool, size in ((nn.MaxPool2d(2), 16), (nn.Identity(), 64))
    )
    ratio = (plain["3.weight"].recipe.rms / made["3.weight"].recipe.rms) ** 2
    assert ratio == pytest.approx(math.sqrt(largest(4.0)), rel=1e-6)


def test_signal_and_gradient_move_alike_where_means_of_windows_are_taken():
    """The mean of four rectified places keeps s = 1/pi + (1 - 1/pi)/4 of their square, or all where they are equal.

    Of sqrt(s) between these the gain sqrt(4/sqrt(s)) makes a signal as much larger as a gradient is made less.
    """
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(16, 16, 1), nn.ReLU(), *head(16))
    gain = 16 * plan(model, IMAGES)["3.weight"].recipe.rms ** 2 / 2  # beside the 2 of a rectifier
    kept = math.sqrt(1 / math.pi + (1 - 1 / math.pi) / 4)
    assert gain * kept == pytest.approx(math.sqrt(4 * kept), rel=1e-6)
    assert gain / 4 == pytest.approx(1 / math.sqrt(4 * kept), rel=1e-6)


def head(size):
    return nn.Flatten(), nn.Linear(16 * size, 4)
