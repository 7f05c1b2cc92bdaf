"""The input-output Jacobians of networks as they are drawn, and their squared singular values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadygrad.study.data import load
from steadygrad.study.point import Point
from steadygrad.study.torch_module import network
from steadygrad.theory.jacobian import Weights

from .effort import Setting


def scales(setting: Setting, weights: Weights) -> dict[str, Any]:
    """Return the fields of `Point` that draw these weights at the setting's scales.

    >>> from .effort import settings
    >>> scales(settings()[0], "orthogonal")
    {'activation': 'identity', 'sigma_b': 0.0, 'initializer': 'orthogonal', 'gain': 1.0}
    """
    # Normal weights of variance 1 / fan_in, or orthogonal ones, times the scale.
    initializer = {"gaussian": "lecun-normal", "orthogonal": "orthogonal"}[weights]
    return {
        "activation": setting.activation,
        "sigma_b": setting.sigma_b,
        "initializer": initializer,
        "gain": setting.sigma_w,
    }


def squared_singular_values(setting: Setting, weights: Weights, *, depth: int, draws: int) -> NDArray[np.float64]:
    """Return the squared singular values of the hidden layers' Jacobian, [draws, width], the largest first.

    Layers are as wide as the data has features, so that all of them are square; the input is normal, and of the
    variance that gives the first layer the setting's q.

    >>> from .effort import settings
    >>> values = squared_singular_values(settings()[0], "orthogonal", depth=3, draws=2)
    >>> values.shape, round(float(values.max()), 4)
    ((2, 64), 1.0)
    """
    return np.array([_values(setting, weights, depth, seed) for seed in range(draws)])


def _values(setting: Setting, weights: Weights, depth: int, seed: int) -> NDArray[np.float64]:
    width = load("digits").inputs.shape[1]
    hidden = network(Point(depth=depth, width=width, dtype="float64", seed=seed, **scales(setting, weights)))[:-1]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(width, dtype=torch.float64, generator=generator)
    x *= ((setting.q - setting.sigma_b**2) / setting.sigma_w**2 / x.square().mean()) ** 0.5
    return np.asarray(torch.linalg.svdvals(_jacobian(hidden, x)).square().numpy(), dtype=np.float64)


def _jacobian(module: nn.Module, x: Tensor) -> Tensor:
    """One backward pass: of as many copies of x as there are outputs, each asked for an output of its own."""
    copies = x.expand(len(x), -1).clone().requires_grad_()
    return torch.autograd.grad(module(copies).diagonal().sum(), copies)[0]
