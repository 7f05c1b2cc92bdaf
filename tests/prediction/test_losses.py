"""Losses that users bring, held against draws: gradients of all rows."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, SAMPLED = 48, 0.1  # of the log: a loss is run on samples of a Gaussian head


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(*widths):
    layers = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


X, ONES = torch.randn(16, 32, generator=rng()), torch.randint(2, (16, 8), generator=rng(1)).float()

CASES = {
    "weights of positives": (
        lambda: mlp(32, 64, 64, 8), X, ONES, nn.BCEWithLogitsLoss(pos_weight=torch.full((8,), 3.0)),
    ),
    "weights of entries": (
        lambda: mlp(32, 64, 64, 8), X, ONES, lambda o, y: F.binary_cross_entropy_with_logits(o, y, weight=1 + 4 * y),
    ),
}  # fmt: skip


def drawn(factory, x, y, loss_fn):
    """Logs of grad_q, [draws, rows]."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found.append([row.grad_q for row in measure(factory(), x, y, loss_fn)])
    return np.log(found)


@pytest.mark.parametrize("case", CASES)
def test_medians_of_gradients_agree_with_draws(case):
    """Within five standard errors of a median of 48 draws, and a tenth."""
    factory, x, y, loss_fn = CASES[case]
    profile = predict(factory, x, y, loss_fn=loss_fn)
    assert not profile.unknown
    logs = drawn(factory, x, y, loss_fn)
    error = 5 * 1.25 * logs.std(0) / DRAWS**0.5 + SAMPLED
    for row, real, allowed in zip(profile, logs.T, error, strict=True):
        assert abs(np.log(row.grad_q) - np.median(real)) < allowed, row.path
