"""Gradients of losses that are a sum of a function of the output: they lie along it, and start as it was drawn."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.memory import Memory
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Draws

DRAWS = 60
INPUTS = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))


def narrowing():
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32))
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def square():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))


LOSSES = {
    "square": lambda o: (o**2).mean(),
    "absolute": lambda o: o.abs().sum(),
    "norm": lambda o: o.norm(dim=1).mean(),
    "hinge": lambda o: F.relu(1 - o).mean(),
    "softplus": lambda o: F.softplus(-o).mean(),
    "bounded": lambda o: (o.tanh() ** 2).mean(),
}


@pytest.mark.parametrize("factory", [narrowing, square])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_agree_with_draws(loss, factory):
    """Medians of 60 draws, and the rms of the norm that the last weight's gradient has, in five errors and .06.

    A gradient that is taken as independent of the output is .8 low behind two square matrices.
    """
    profile = predict(factory, INPUTS, loss_fn=lambda o, _: LOSSES[loss](o))
    assert not profile.unknown
    rows, norms = [], []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        real = measure(factory(), INPUTS, loss_fn=lambda o, _: LOSSES[loss](o))
        rows.append([math.log(row.grad_q) for row in real])
        norms.append(real.parameter_grad_norms["4.weight"] ** 2)
    error = 5 * math.sqrt(math.pi / 2 / DRAWS) * np.std(rows, axis=0) + 0.06
    for row, median, allowed in zip(profile, np.median(rows, axis=0), error, strict=True):
        assert abs(math.log(row.grad_q) - median) < allowed, row.path
    off = profile.parameter_grad_norms["4.weight"] ** 2 / np.mean(norms) - 1
    assert abs(off) < 5 * np.std(norms) / np.mean(norms) / math.sqrt(DRAWS) + 0.12


def test_samples_of_a_square_matrix_are_turned_with_it():
    """Of a tensor that lies in columns too: a view is what the same view of each sample is."""
    samples = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    for held in (torch.empty(4, 4), torch.empty(4, 4).t()):
        memory = Memory(4)
        memory.put(held, Draws(samples, np.zeros(3), CERTAIN, samples))
        for of in (
            lambda t: t,
            lambda t: t.t(),
            lambda t: t[1:3],
            lambda t: t.t()[:, 2:],
            lambda t: t.reshape(2, 2, 4),
        ):
            view = of(held)
            if view.untyped_storage()._cdata != held.untyped_storage()._cdata:
                continue
            found = memory.get(view)
            assert isinstance(found, Draws)
            torch.testing.assert_close(found.values, torch.stack([of(x) for x in samples]))
