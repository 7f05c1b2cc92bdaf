"""A batch that is described by moments is drawn as weights are: its size, what examples and places have in common."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import nn
from torch.nn import functional as F

from steadygrad import Inputs, predict
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.run import interpreted, interpreting

DRAWS = 400
ERRORS = 5
SHAPES = [(1, 16), (4, 10), (32, 8), (2, 3, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mean_of_squares_has_the_law_of_one(shape):
    """n B times the mean square of n B normal entries is chi-square distributed, of what goes in and of what starts."""
    (row,) = predict(nn.Identity, shape)
    n = math.prod(shape)
    expected = chi2.ppf([0.5, 0.025, 0.975], n) / n
    assert [row.q, row.q_low, row.q_high] == pytest.approx(expected, rel=0.005)
    (row,) = predict(lambda: nn.Linear(3, math.prod(shape[1:])), (shape[0], 3))
    assert [row.grad_q, row.grad_q_low, row.grad_q_high] == pytest.approx(expected, rel=0.005)


class Attention(nn.Module):
    """Two heads over tokens."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x):
        """[examples, tokens, 24] to the same."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 12).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


NETWORKS = {
    "one layer": (lambda: nn.Sequential(nn.Linear(8, 64)), Inputs((32, 8))),
    "one example": (lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32)), Inputs((1, 4))),
    "functions": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8)), Inputs((4, 16))),
    "a mean": (lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8)), Inputs((32, 8), mean=0.5)),
    "common": (lambda: nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)), Inputs((32, 32), q=2.0, c=0.3)),
    "windows": (lambda: nn.Sequential(nn.Conv1d(1, 16, 3)), Inputs((8, 1, 12))),
    "images": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3)), Inputs((4, 3, 6, 6))),
    "means over windows": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 16, 3)), Inputs((4, 3, 8, 8))),
    "tokens": (lambda: nn.Sequential(nn.Linear(12, 24), Attention()), Inputs((4, 6, 12))),
}  # fmt: skip


def drawn(described, generator):
    """A batch that has the moments."""
    mean, q, c, shape = described.mean, described.q, described.c, described.shape
    common = torch.randn(1, *shape[1:], generator=generator) * math.sqrt(c * q - mean**2)
    return mean + common + torch.randn(shape, generator=generator) * math.sqrt(q * (1 - c))


@pytest.mark.parametrize("name", NETWORKS)
def test_bands_are_over_draws_of_weights_and_of_the_batch(name):
    make, described = NETWORKS[name]
    generator, logs = torch.Generator().manual_seed(0), []
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(DRAWS):
            outputs = [drawn(described, generator)]
            for layer in make():
                outputs.append(layer(outputs[-1]))
            logs.append([float(x.square().mean().log()) for x in outputs[1:]])
    logs = np.array(logs)
    ends = [row for row in predict(make, described) if row.path.count(".") == 0 or row.path.endswith("out")]
    (low, middle, high) = (np.log([getattr(row, at) for row in ends]) for at in ("q_low", "q", "q_high"))
    deviation = logs.std(0)
    error = ERRORS * 1.2533 * deviation / math.sqrt(DRAWS)
    assert (abs(middle - np.median(logs, 0)) < 0.01 + error).all()
    ratio = (high - low) / (2 * 1.959964) / deviation
    assert (abs(np.log(ratio)) < 0.05 + ERRORS / math.sqrt(2 * DRAWS)).all(), ratio


def test_tokens_behind_it_have_in_common_what_chance_gives_them():
    """Of n entries x·y/n varies by 1/n; over N sums of normal weights E[K²] gains (E[x² y²] + E[(x·y/n)²])/N."""
    n, units, tokens, size = 12, 24, 6, 64
    examples = examples_of(Inputs((size, tokens, n)))
    make = lambda: nn.Linear(n, units, bias=False)  # noqa: E731
    with interpreting(examples.batch) as run:
        (row,) = interpreted(make, examples, run).rows
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        z = rng.standard_normal((2, n)) @ rng.standard_normal((n, units))
        found.append(z[0] @ z[1] / units / n)
    square = np.square(found)
    error = ERRORS * square.std() / math.sqrt(DRAWS)
    assert row.output.moments.field.varied == pytest.approx(square.mean(), abs=error)
    assert square.mean() - error > 1 / units
