"""What gradients of two examples have in common where they lie along their signals, against draws."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict

WIDTH, DEPTH, DRAWS = 64, 3, 300
VECTORS = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
OF_WIDE_LAYERS = DEPTH / WIDTH  # of 1 - c: to first order in this the distance of gradients is not followed


def mlp(activation, gain):
    layers = [part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), activation())]
    return filled(nn.Sequential(*layers, nn.Linear(WIDTH, WIDTH)), gain)


def cnn():
    layers = [part for i in range(DEPTH) for part in (nn.Conv2d(WIDTH if i else 3, WIDTH, 3, padding=1), nn.ReLU())]
    return filled(nn.Sequential(*layers), 2.0)


def filled(model, gain):
    for layer in model:
        if hasattr(layer, "weight"):
            nn.init.normal_(layer.weight, std=(gain / layer.weight[0].numel()) ** 0.5)
            nn.init.zeros_(layer.bias)
    return model


def squares(y, _):
    return y.square().mean()


def to_one(y, _):
    return (y - 1).square().mean()


def softplus(y, _):
    return F.softplus(y).mean()


KINDS = {
    "relu": (functools.partial(mlp, nn.ReLU, 2.0), VECTORS, squares),
    "relu, softplus": (functools.partial(mlp, nn.ReLU, 2.0), VECTORS, softplus),
    "gelu": (functools.partial(mlp, nn.GELU, 2.0), VECTORS, squares),
    "tanh": (functools.partial(mlp, nn.Tanh, 1.0), VECTORS, squares),
    "tanh to one": (functools.partial(mlp, nn.Tanh, 1.0), VECTORS, to_one),
    "convolutions": (cnn, IMAGES, squares),
}


def drawn(make, x, loss):
    """Logs of 1 - c of the gradient with respect to each module's output, [draws, rows]."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        outs = [x]
        for layer in make():
            outs.append(layer(outs[-1]))
        gradients = torch.autograd.grad(loss(outs[-1], None), outs[1:])
        found.append([float((g.var(0).mean() / g.square().mean()).log()) for g in gradients])
    return np.array(found)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_that_lie_along_their_signals_are_apart_as_these_are(name):
    """Within four standard errors and what is of first order in depth over width."""
    make, x, loss = KINDS[name]
    torch.set_num_threads(1)
    logs = drawn(make, x, loss)
    rows = predict(make, x, torch.zeros(len(x)), loss_fn=loss)
    off = np.log([1 - row.grad_c for row in rows]) - np.median(logs, 0)
    error = 4 * 1.2533 * logs.std(0) / DRAWS**0.5 + OF_WIDE_LAYERS
    assert (abs(off) <= error).all(), (off, error)
