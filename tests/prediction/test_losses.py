"""Losses that users bring, held against draws: gradients of all rows."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.batch import Batch
from steadygrad.prediction.kin_draws import Seeds
from steadygrad.prediction.source import Source
from steadygrad.prediction.spread import CERTAIN

DRAWS = 48
SAMPLED = 0.15  # of the log: a loss is run on samples of a Gaussian head
MET_TWICE = 0.5  # where one network is met twice: what a gradient has along the other's signal is not followed
NEAR = 1.0  # and of two views that are nearly one, whose difference is what comes back
MIXED = 0.35  # where examples were mixed, and a function of the mixture sends back what is mixed again


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(*widths):
    layers = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Towers(nn.Module):
    """Two networks."""

    def __init__(self):
        super().__init__()
        self.first, self.second = mlp(64, 256, 32), mlp(64, 256, 32)

    def forward(self, x, z):
        return self.first(x), self.second(z)


class Views(nn.Module):
    """One network of two views."""

    def __init__(self):
        super().__init__()
        self.network = mlp(64, 128, 128, 32)

    def forward(self, x, z):
        return self.network(x), self.network(z)


class Nodes(nn.Module):
    """A graph's nodes, each a mean over its neighbours."""

    def __init__(self, means):
        super().__init__()
        self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 10)
        self.register_buffer("means", means)

    def forward(self, x):
        return self.means @ self.last(torch.relu(self.means @ self.first(x)))


def contrasted(o, _):
    """All embeddings with all, as in Radford et al. 2021."""
    first, second = (F.normalize(x, dim=-1) for x in o)
    scores, at = first @ second.T / 0.1, torch.arange(len(first))
    return (F.cross_entropy(scores, at) + F.cross_entropy(scores.T, at)) / 2


def against_all(o, _):
    """Two views of each example beside those of all others, as in Chen et al. 2020."""
    z = F.normalize(torch.cat(o), dim=-1)
    scores, count = z @ z.T / 0.5, len(z)
    scores.fill_diagonal_(-torch.inf)
    return F.cross_entropy(scores, (torch.arange(count) + count // 2) % count)


X, Z = torch.randn(16, 64, generator=rng()), torch.randn(16, 64, generator=rng(1))
PAIR = X, X + 0.3 * Z
MANY = torch.randn(64, 64, generator=rng(4)), torch.randn(64, 64, generator=rng(5))
ONES, LABELS = torch.randint(2, (16, 8), generator=rng(2)).float(), torch.arange(16) % 10
NEIGHBOURS = (torch.rand(16, 16, generator=rng(3)) < 0.2).float() + torch.eye(16)
MEANS = NEIGHBOURS / NEIGHBOURS.sum(1, keepdim=True)

CASES = {
    "weights of positives": (
        lambda: mlp(64, 64, 64, 8), X, ONES, nn.BCEWithLogitsLoss(pos_weight=torch.full((8,), 3.0)), SAMPLED,
    ),
    "weights of entries": (
        lambda: mlp(64, 64, 64, 8), X, ONES,
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, weight=1 + 4 * y), SAMPLED,
    ),
    "contrastive": (Towers, (X, Z), None, contrasted, SAMPLED),
    "contrastive, more examples than are followed": (Towers, MANY, None, contrasted, SAMPLED),
    "products as they are": (
        Towers, (X, Z), None, lambda o, _: F.cross_entropy(o[0] @ o[1].T, torch.arange(len(o[0]))), SAMPLED,
    ),
    "cosines of views": (Views, PAIR, None, lambda o, _: -F.cosine_similarity(*o).mean(), NEAR),
    "views among all": (Views, PAIR, None, against_all, MET_TWICE),
    "chosen and rejected": (
        lambda: mlp(64, 64, 64, 1), X, None, lambda o, _: -F.logsigmoid(o[:8] - o[8:]).mean(), SAMPLED,
    ),
    "a part with labels": (
        lambda: mlp(64, 64, 64, 10), X, LABELS, lambda o, y: F.cross_entropy(o[:12], y[:12]), SAMPLED,
    ),
    "entropies": (
        lambda: mlp(64, 64, 64, 10), X, LABELS,
        lambda o, y: F.cross_entropy(o, y) + (o.softmax(-1) * o.log_softmax(-1)).sum(-1).mean(), SAMPLED,
    ),
    "nodes": (lambda: Nodes(MEANS), X[:, :32], LABELS, F.cross_entropy, MIXED),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_medians_of_gradients_agree_with_draws(case):
    """Within five standard errors of a median of 48 draws, and what is approximate."""
    factory, x, y, loss_fn, approximate = CASES[case]
    profile = predict(factory, x, y, loss_fn=loss_fn)
    assert not profile.unknown
    losses, rows = [], []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        real = measure(factory(), x, y, loss_fn)
        losses.append(real.loss)
        rows.append([row.grad_q for row in real])
    logs = np.log(rows)
    error = 5 * 1.25 * logs.std(0) / DRAWS**0.5 + approximate
    for row, real, allowed in zip(profile, logs.T, error, strict=True):
        assert abs(np.log(row.grad_q) - np.median(real)) < allowed, row.path
    assert abs(profile.loss - np.mean(losses)) < 5 * np.std(losses) / DRAWS**0.5 + 0.05


def test_a_batch_that_is_a_part_of_other_data_is_that_part():
    whole = predict(mlp(64, 64, 10), X[4:12].clone())
    part = predict(mlp(64, 64, 10), X[4:12])
    assert [row.mark for row in part] == [row.mark for row in whole]
    assert part.layers[0].q == pytest.approx(whole.layers[0].q, rel=0.1)  # of two draws of the weights


def test_code_that_a_loss_asks_many_numbers_of_is_said_to_be_unknown():
    lengths = torch.full((4,), 12), torch.full((4,), 4)
    labels = torch.randint(1, 11, (4, 4), generator=rng(6))
    profile = predict(
        lambda: mlp(32, 64, 11),
        torch.randn(4, 12, 32, generator=rng(7)),
        labels,
        loss_fn=lambda o, y: F.ctc_loss(o.log_softmax(-1).transpose(0, 1), y, *lengths),
    )
    assert any("ctc_loss" in words for words in profile.unknown)


def source(gap):
    return Source(np.zeros(len(gap)), np.ones(len(gap)), gap, 8.0, CERTAIN, CERTAIN, 0.0)


def test_sources_that_are_kin_are_drawn_as_they_are():
    """The blocks of the factor give back what each pair of sources has in common, of one example and of two."""
    apart = np.full((5, 5), 0.7) * (1 - np.eye(5))
    first, second, third, stranger = (source(apart) for _ in range(4))
    known = {(0, 1): (0.9, 0.25), (0, 2): (0.4, 0.2), (1, 2): (0.5, 0.15)}
    numbers = {id(s): i for i, s in enumerate((first, second, third))}

    def kin(a, b):
        pair = sorted((numbers.get(id(a), -1), numbers.get(id(b), -1)))
        return known.get((pair[0], pair[1]), (0.0, 0.0))

    seeds, batch = Seeds(kin=kin), Batch(5, np.arange(5), np.arange(5))
    rows = [dict(seeds.rows(s, s, ((), 8), batch)) for s in (first, second, third, stranger)]
    for i, j in itertools.combinations_with_replacement(range(4), 2):
        met = sum((rows[i][at] @ rows[j][at].T for at in rows[i] if at in rows[j]), np.zeros((5, 5)))
        own, other = (1.0, 0.3) if i == j else known.get((i, j), (0.0, 0.0))
        np.testing.assert_allclose(met, np.where(np.eye(5), own, other), atol=1e-6)
