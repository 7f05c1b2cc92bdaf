"""Weights that are computed of others: merged adapters, lengths and directions, an orthogonal matrix; and transforms.

One draw of such a weight stands for its distribution, so what is behind it varies over draws as it does; medians of 40
draws within 0.1 or five standard errors; deviations, which were zero when a draw stood for itself, within a factor of
1.5 and five standard errors of a sample's.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import steadygrad as sg
from steadygrad.prediction.measured_weights import _distribution

from .test_positions import draw

DRAWS, WIDTH = 40, 32
X = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(0))


class Merged(nn.Module):
    """A layer with an adapter of low rank merged into its weight."""

    def __init__(self, std):
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.a, self.b = nn.Parameter(torch.randn(4, WIDTH) / 6), nn.Parameter(torch.randn(WIDTH, 4) * std)
        self.mark = nn.Identity()

    def forward(self, x):
        return self.mark(F.linear(x, self.base.weight + 2 * self.b @ self.a, self.base.bias))


def stacked(layer):
    return nn.Sequential(layer(), nn.ReLU(), layer(), nn.ReLU(), nn.Linear(WIDTH, 4))


FACTORIES = {
    "merged": lambda: stacked(lambda: Merged(0.1)),
    "weight norm": lambda: stacked(lambda: parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))),
    "orthogonal": lambda: stacked(lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH))),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 16)), parametrizations.weight_norm(nn.Conv1d(2, 16, 3, padding=1)), nn.ReLU(), nn.Flatten()
    ),
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_what_is_behind_a_weight_that_is_computed_varies_over_draws(factory):
    profile = sg.predict(factory, X)
    with np.errstate(invalid="ignore"):
        real = np.log([draw(factory, X, seed) for seed in range(DRAWS)])
    for i, row in enumerate(profile):
        if row.kind not in ("ReLU", "Identity"):
            continue
        assert row.mark == "approximate"
        for j, band in enumerate(((row.q, row.q_low, row.q_high), (row.grad_q, row.grad_q_low, row.grad_q_high))):
            deviation, (q, low, high) = real[:, i, j].std(), np.log(band)
            assert abs(q - np.median(real[:, i, j])) < max(0.1, 5 * 1.2533 * deviation / math.sqrt(DRAWS)), (i, j)
            assert abs(math.log((high - low) / 3.92 / deviation)) < 0.4 + 5 / math.sqrt(2 * DRAWS), (i, j)


def test_an_adapter_that_starts_at_zero_changes_nothing():
    """Its factor is zero, so the weight is the base's, and the row is exact."""
    merged, plain = (sg.predict(f, X) for f in (lambda: Merged(0.0), lambda: nn.Linear(WIDTH, WIDTH)))
    assert merged["mark"].q == pytest.approx(plain[""].q, rel=0.1)


def test_numbers_that_are_an_orthogonal_matrix_are_known_as_one():
    """W Wᵀ = s I, whatever s; a matrix of independent entries is none."""
    w = torch.linalg.qr(torch.randn(24, 16, generator=torch.Generator().manual_seed(1)))[0]
    assert [_distribution(m, 0).form for m in (3 * w, w.t(), torch.randn(16, 24))] == [
        "orthogonal",
        "orthogonal",
        "independent",
    ]


@pytest.mark.parametrize("kind", [parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lengths_and_directions_get_their_gradients(kind):
    """Of w = g v/|v| by rows of n, |v| = g: E|grad_v|² = E|grad_w|² (1 - 1/n), E|grad_g|² = E|grad_w|²/n.

    Without a function behind it the gradient is independent of the weight; root mean squares of 40 draws within 10%.
    The square of a length varies by (9/5 - 1)/n, which E[g²] E[1/|v|²] has beyond 1.
    """

    def layer():
        return kind(nn.Linear(WIDTH, WIDTH, bias=False))

    norms = sg.predict(layer, X).parameter_grad_norms
    squares = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = layer()
        y = model(X)
        y.backward(torch.randn_like(y))
        squares.append([float(p.grad.square().sum()) for p in model.parameters()])
    real = np.mean(squares, 0) ** 0.5
    assert list(norms.values()) == pytest.approx(real, rel=0.1)
    assert (norms[min(norms)] / norms[max(norms)]) ** 2 == pytest.approx(1 / (WIDTH - 1), rel=2 * 0.8 / WIDTH)


class Learned(nn.Module):
    """Learned queries, the same for every example, that are normed before they meet data."""

    def __init__(self):
        super().__init__()
        self.queries, self.norm = nn.Parameter(torch.randn(5, WIDTH)), nn.LayerNorm(WIDTH)
        self.first = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x[:, None] + self.first(self.norm(self.queries.expand(len(x), -1, -1)))


def test_a_parameter_that_is_expanded_is_drawn_once_for_all_examples():
    """A norm makes its rows unit variance; a default layer behind it has Var(w) n + Var(b) = (1 + 1/n)/3."""
    profile = sg.predict(Learned, X)
    assert profile["norm"].q == pytest.approx(1, rel=0.01)
    assert profile["first"].q == pytest.approx((1 + 1 / WIDTH) / 3, rel=0.1)
    assert profile["first"].c == pytest.approx(1, abs=1e-6)
    assert profile["first"].mark == "approximate"


class Differentiated(nn.Module):
    """The gradient of an energy, by torch.func, and the same function mapped over examples."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 4)

    def forward(self, x):
        force = torch.func.grad(lambda v: self.inner(v).square().sum() / 2)(x)
        return self.outer(force + torch.func.vmap(self.inner)(x))


def test_transforms_of_functions_are_followed_within():
    """Rows are those of the tensors that are transformed; W x of a default layer has a third of the second moment."""
    profile = sg.predict(Differentiated, X)
    assert [row.path for row in profile] == ["inner", "inner", "outer"]
    for row in profile.layers[:2]:
        assert row.q == pytest.approx(float(X.square().mean()) / 3, rel=0.1)


def test_a_weight_as_an_output_varies_as_the_mean_square_of_its_entries_does():
    """Of N uniform entries the mean square has the relative variance (9/5 - 1)/N, of normal ones 2/N."""
    for fill, kurtosis in ((nn.init.uniform_, 1.8), (nn.init.normal_, 3.0)):

        class Held(nn.Module):
            def __init__(self, fill=fill):
                super().__init__()
                self.weight = nn.Parameter(
                    fill(torch.empty(8, WIDTH), -0.5, 0.5) if fill is nn.init.uniform_ else fill(torch.empty(8, WIDTH))
                )

            def forward(self, x):
                return self.weight.exp().log()

        row = sg.predict(lambda: nn.Sequential(Held()), X).layers[0]
        deviation = math.log(row.q_high / row.q_low) / 3.92
        assert deviation == pytest.approx(math.sqrt((kurtosis - 1) / (8 * WIDTH)), rel=0.02)
