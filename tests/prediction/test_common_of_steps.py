"""What examples have in common where weights are met at every step, and where a sum holds one signal twice.

A network that sees few numbers a step is led by its biases: examples are alike, and 1 - c is small.
"""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict

from .test_positions import seeded

FEW = seeded(64, 10, 3)
SLACK = 0.1


class Steps(nn.Module):
    """The states of all steps."""

    def __init__(self, kind, layers):
        super().__init__()
        self.states = kind(3, 32, layers, batch_first=True)

    def forward(self, x):
        return self.states(x)[0]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_states_of_few_inputs_have_as_much_in_common_as_drawn(kind, layers):
    """The mean of 1 - c over 60 draws, within 10% and four of its standard errors."""
    predicted = 1 - predict(lambda: Steps(kind, layers), FEW)["states"].c
    drawn = []
    for seed in range(60):
        torch.manual_seed(seed)
        drawn.append(1 - measure(Steps(kind, layers), FEW)["states"].c)
    error = 4 * np.std(drawn) / len(drawn) ** 0.5
    assert abs(predicted - np.mean(drawn)) < SLACK * np.mean(drawn) + error, (predicted, np.mean(drawn))


WAYS = {
    "product": lambda z, n: (1 - z) * n,
    "difference": lambda z, n: n - z * n,
    "negative": lambda z, n: (0 - n) * z + n,
    "apart": lambda z, n: 0.5 * n + 0.5 * n - n * z,
}


class Gated(nn.Module):
    """A gate that leaves some of a state, written in one of several ways."""

    def __init__(self, way):
        super().__init__()
        self.state, self.gate, self.end, self.way = nn.Linear(32, 32), nn.Linear(32, 32), nn.Identity(), way

    def forward(self, x):
        return self.end(WAYS[self.way](torch.sigmoid(self.gate(x)), torch.tanh(self.state(x))))


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"product"}))
def test_what_a_gate_leaves_is_the_same_however_it_is_written(way):
    """Examples of very different lengths, so that pairs differ: a signal and its negative cancel pair by pair."""
    x = seeded(64, 32) * torch.linspace(0.2, 3, 64)[:, None]
    one, other = (predict(lambda way=way: Gated(way), x)["end"] for way in ("product", way))
    assert other.q == pytest.approx(one.q, rel=1e-2)
    assert 1 - other.c == pytest.approx(1 - one.c, rel=1e-2)
