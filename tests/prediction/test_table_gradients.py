"""Gradients of tables, to whose rows all places add that hold one index: norms against draws."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, APPROXIMATE = 48, 0.1  # of the log: coincidences are means over all pairs of places so far apart


class Tagged(nn.Module):
    """Tokens through one layer, and a head at their mean or at each of them."""

    def __init__(self, *, mean, padding=None):
        super().__init__()
        self.table, self.layer = nn.Embedding(20, 32, padding_idx=padding), nn.Linear(32, 32)
        self.head, self.mean = nn.Linear(32, 20), mean

    def forward(self, tokens):
        x = torch.relu(self.layer(self.table(tokens)))
        return self.head(x.mean(1) if self.mean else x.flatten(0, 1))


class Single(Tagged):
    """One token an example."""

    def forward(self, tokens):
        return self.head(torch.relu(self.layer(self.table(tokens))))


def tokens(padded):
    found = torch.randint(1, 20, (8, 12), generator=torch.Generator().manual_seed(0))
    found[:, 12 - padded :] = 0
    return found


CASES = {
    "mean": (lambda: Tagged(mean=True), tokens(0)),
    "each": (lambda: Tagged(mean=False), tokens(0)),
    "mean, padded": (lambda: Tagged(mean=True, padding=0), tokens(6)),
    "each, padded": (lambda: Tagged(mean=False, padding=0), tokens(6)),
    "one token an example": (lambda: Single(mean=False), tokens(0)[:, 0]),
}


@pytest.mark.parametrize("one_label", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_norms_of_tables_are_those_of_draws(case, one_label):
    make, x = CASES[case]
    count = len(x) if case.startswith(("mean", "one")) else x.numel()
    y = torch.zeros(count, dtype=torch.long) if one_label else torch.arange(count) % 20
    norm = predict(make, x, targets=y, loss_fn=nn.CrossEntropyLoss()).parameter_grad_norms["table.weight"]
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(measure(make(), x, y, nn.CrossEntropyLoss()).parameter_grad_norms["table.weight"] ** 2)
    error = 5 * np.std(drawn) / np.mean(drawn) / np.sqrt(DRAWS) / 2
    assert abs(np.log(norm / np.sqrt(np.mean(drawn)))) < error + APPROXIMATE
