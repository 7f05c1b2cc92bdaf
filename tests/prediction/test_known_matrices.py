"""Products with a matrix of numbers, as a graph's neighbours are summed by, and what such code asks first."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, NODES = 60, 12
INPUTS = torch.randn(32, NODES, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(4, (32,), generator=torch.Generator().manual_seed(1))


class Ring(nn.Module):
    """Each node is a mean of itself and its neighbours, from the left or from the right."""

    def __init__(self, *, right=False):
        super().__init__()
        ring = sum(torch.eye(NODES).roll(k, 1) for k in (-1, 0, 1)) / 3
        self.register_buffer("ring", ring)
        self.right = right
        self.first, self.second, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)

    def met(self, h):
        return (h.transpose(1, 2) @ self.ring).transpose(1, 2) if self.right else self.ring @ h

    def forward(self, x):
        h = torch.tanh(self.met(self.first(x)))
        return self.head(torch.tanh(self.met(self.second(h))).mean(1))


@pytest.mark.parametrize("right", [False, True])
def test_a_ring_of_nodes_agrees_with_draws(right):
    """Medians of 60 draws, within five standard errors and .1, and the way that positions are followed is said."""
    profile = predict(Ring(right=right), INPUTS, LABELS, loss_fn=F.cross_entropy)
    assert [words.split(":")[0] for words in profile.unknown] == ["aten.bmm by a known matrix"]
    rows = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        real = measure(Ring(right=right), INPUTS, LABELS, F.cross_entropy)
        rows.append([[math.log(row.q), math.log(row.grad_q)] for row in real])
    error = 5 * math.sqrt(math.pi / 2 / DRAWS) * np.std(rows, axis=0) + 0.1
    medians = np.median(rows, axis=0)
    by_path = {row.path: row for row in profile}
    for row, median, allowed in zip(real, medians, error, strict=True):
        found = by_path[row.path]
        off = np.abs(np.log([found.q, found.grad_q]) - median)
        assert (off < allowed).all(), f"{row.path} {off} {allowed}"


def test_a_matrix_for_each_example_is_said_to_be_unknown():
    class Hyper(nn.Module):
        def __init__(self):
            super().__init__()
            self.made = nn.Linear(16, 8 * 16)

        def forward(self, x):
            return (self.made(x[:, 0]).view(-1, 8, 16) @ x.transpose(1, 2)).mean((1, 2), keepdim=True)

    profile = predict(Hyper, INPUTS)
    assert any("a matrix for each example" in words for words in profile.unknown)
    assert profile.layers[0].q > 0


class Mixture(nn.Module):
    """The parameters of a mixture of normals; `torch.distributions` asks whether they are allowed ones."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 9))

    def forward(self, x):
        return self.layers(x[:, 0]).chunk(3, -1)


def likelihood(output, y):
    weights, means, logs = output
    each = torch.distributions.Normal(means, logs.exp()).log_prob(y[:, None].float())
    return -torch.logsumexp(weights.log_softmax(-1) + each, -1).mean()


def test_what_a_distribution_asks_of_its_parameters_is_answered():
    profile = predict(Mixture, INPUTS, LABELS, loss_fn=likelihood)
    assert not profile.unknown
    assert profile.loss > 0
    assert all(row.grad_q > 0 for row in profile)
