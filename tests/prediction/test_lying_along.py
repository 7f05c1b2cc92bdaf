"""How far independent gradients lie along the signal: the same in every layer of a draw, so their size varies by it."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict

DRAWS, EXAMPLES, DEPTH = 300, 2, 16


def network():
    layers = [part for i in range(DEPTH) for part in (nn.Conv2d(32 if i else 3, 32, 3, padding=1), nn.ReLU())]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10, bias=False))


@pytest.fixture(scope="module")
def images():
    return torch.randn(EXAMPLES, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def draws(images):
    """Of every layer the mean square of its gradient, and g·h of every example, [draws, layers, ...]."""
    sizes, products = [], []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        y, seen = images, []
        for layer in network():
            y = layer(y)
            seen.append(y)
        gradients = torch.autograd.grad(y, seen, torch.randn_like(y))
        sizes.append([float(g.double().square().mean()) for g in gradients])
        products.append([(g * h.detach()).flatten(1).sum(1).tolist() for g, h in zip(gradients, seen, strict=True)])
    return np.array(sizes), np.array(products)


def test_the_product_of_gradient_and_signal_is_that_at_the_output(draws):
    """Euler's theorem on homogeneous functions; its square, relative to the signal's, varies by 2."""
    products = draws[1]
    assert products[:, :-1] == pytest.approx(products[:, -1:].repeat(products.shape[1] - 1, 1), rel=1e-3, abs=1e-4)


def test_deep_convolutions_gradients_vary_by_it(images, draws):
    """A deviation is within the tenth that a prediction may be off, and three standard errors of the draws' own."""
    logs, profile = np.log(draws[0]), list(predict(network, images))
    predicted = np.array([np.log(row.grad_q_high / row.grad_q_low) / (2 * 1.959964) for row in profile])
    ratio = np.log(predicted / logs.std(0))
    assert abs(ratio).max() < 0.1 + 3 / (2 * DRAWS) ** 0.5, ratio
