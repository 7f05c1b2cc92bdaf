"""Windows of positions: their masks are no examples, however many there are, and patches merge going backward."""

import math

import pytest
import torch
from torch import nn

from steadygrad import measure, predict

DRAWS = 60


class Windowed(nn.Module):
    """Attention within four windows of four positions; in one of them a mask keeps two parts apart."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x):
        windows = x.view(-1, 4, 32)
        part = torch.zeros(1, 16, 1)
        part[:, 6:] = 1
        part = part.view(-1, 4)
        apart = part.unsqueeze(1) - part.unsqueeze(2)
        mask = apart.masked_fill(apart != 0, -100.0)
        scores = (self.query(windows) @ self.key(windows).mT / math.sqrt(32)).view(len(x), 4, 4, 4) + mask.unsqueeze(0)
        mixed = scores.view(-1, 4, 4).softmax(-1) @ self.value(windows)
        return self.out(mixed.view(len(x), 16, 32))


class Merging(nn.Module):
    """Layers over 16 positions, of which neighbours in both directions merge."""

    def __init__(self):
        super().__init__()
        self.before, self.reduction, self.head = nn.Linear(16, 32), nn.Linear(128, 64), nn.Linear(64, 4)

    def forward(self, x):
        x = self.before(x).view(-1, 4, 4, 32)
        x = torch.cat([x[:, row::2, column::2] for column in range(2) for row in range(2)], -1).view(-1, 4, 128)
        return self.head(torch.relu(self.reduction(x)).mean(1))


def by_path(profile):
    return {row.path: row for row in profile}


# The batch is described by moments, so nothing but the number of examples differs.
def test_as_many_windows_as_examples_are_no_examples():
    four, five = (by_path(predict(Windowed, (n, 16, 32))) for n in (4, 5))
    assert four["out"].q == pytest.approx(five["out"].q, rel=0.05)
    q = [by_path(measure(Windowed(), torch.randn(4, 16, 32)))["out"].q for _ in range(DRAWS)]
    middle, error = torch.tensor(q).log().mean().item(), torch.tensor(q).log().std().item() / math.sqrt(DRAWS)
    assert math.log(four["out"].q) == pytest.approx(middle, abs=0.03 + 5 * error)


def test_gradients_pass_back_through_merged_patches():
    torch.manual_seed(0)
    loss = nn.CrossEntropyLoss()
    targets = torch.randint(4, (8,))
    predicted = by_path(predict(Merging, (8, 16, 16), targets, loss_fn=loss))
    drawn = [by_path(measure(Merging(), torch.randn(8, 16, 16), targets, loss)) for _ in range(DRAWS)]
    for path in ("before", "reduction"):
        logs = torch.tensor([profile[path].grad_q for profile in drawn]).log()
        error = logs.std().item() / math.sqrt(DRAWS)
        assert math.log(predicted[path].grad_q) == pytest.approx(logs.mean().item(), abs=0.05 + 5 * error)
