"""Bilinear layers of data and of signals: medians of 40 draws within 0.1 or five standard errors, bands within 1.5."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import steadygrad as sg

DRAWS = 40
G = torch.Generator().manual_seed(0)
X, Z = torch.randn(32, 8, generator=G), torch.randn(32, 6, generator=G)


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.under = nn.Sequential(nn.Linear(8, 12), nn.ReLU()) if hidden else nn.Identity()
        self.meet, self.head = nn.Bilinear(12 if hidden else 8, 6, 16), nn.Linear(16, 4)

    def forward(self, x, z):
        return self.head(self.meet(self.under(x), z))


def drawn(hidden, seed):
    torch.manual_seed(seed)
    rows = sg.measure(Net(hidden), (X, Z))
    return [(rows[path].q, 1 - rows[path].c) for path in ("meet", "head")]


@pytest.mark.parametrize("hidden", [False, True], ids=["data", "signal"])
def test_a_bilinear_layer_sums_products(hidden):
    real = np.log([drawn(hidden, seed) for seed in range(DRAWS)])
    profile = sg.predict(lambda: Net(hidden), (X, Z))
    for i, row in enumerate(profile[path] for path in ("meet", "head")):
        for j, value in enumerate((row.q, 1 - row.c)):
            error = 5 * 1.2533 * real[:, i, j].std() / math.sqrt(DRAWS)
            assert abs(math.log(value) - np.median(real[:, i, j])) < max(0.1, error), (i, j)
        width = math.log(row.q_high / row.q_low) / 3.92
        assert abs(math.log(width / real[:, i, 0].std())) < math.log(1.5) + 5 / math.sqrt(2 * DRAWS)
