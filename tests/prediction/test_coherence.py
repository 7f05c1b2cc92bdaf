"""How sizes of signals vary together where a weight is met at every step: against exact variances, and draws."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import own_noise, predict

from .test_positions import seeded

WIDTH, STEPS, DRAWS, Z = 64, 10, 200, 1.959964


class Steps(nn.Module):
    """One layer at each step, all outputs side by side."""

    def __init__(self, fill):
        super().__init__()
        self.layer, self.end = nn.Linear(WIDTH, WIDTH), nn.Identity()
        for parameter in self.layer.parameters():
            fill(parameter)

    def forward(self, x):
        return self.end(torch.stack([self.layer(step) for step in x.unbind(1)], 1))


def uniform(parameter):
    nn.init.uniform_(parameter, -0.125, 0.125)


def normal(parameter):
    nn.init.normal_(parameter, std=192**-0.5)


def exact(x, kurtosis):
    """The deviation over draws of the mean square of W x + b over all examples and steps, relative to its mean.

    A unit's is wᵀ A w + 2 b wᵀ c + b², A the mean of x xᵀ and c that of x: it varies by 2 tr A² + κ Σ A_jj², and so on.
    """
    x = x.reshape(-1, WIDTH).double().numpy()
    a, c = x.T @ x / len(x), x.mean(0)
    tail = kurtosis - 3
    variance = 2 * np.trace(a @ a) + tail * (np.diag(a) ** 2).sum() + 4 * c @ c + 2 + tail
    return (variance / WIDTH) ** 0.5 / (np.trace(a) + 1)


def deviation(row, name="q"):
    return np.log(getattr(row, f"{name}_high") / getattr(row, f"{name}_low")) / (2 * Z)


@pytest.mark.parametrize(("fill", "kurtosis"), [(normal, 3.0), (uniform, 1.8)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_one_layer_makes_of_all_steps_varies_as_one_sum(fill, kurtosis, share):
    """Inputs that are alike at all steps, in part, or by chance alone; a tenth is what pairs of steps differ by."""
    x = share**0.5 * seeded(4, 1, WIDTH) + (1 - share) ** 0.5 * seeded(4, STEPS, WIDTH + 1)[..., 1:]
    row = predict(lambda: Steps(fill), x)["end"]
    assert deviation(row) == pytest.approx(exact(x, kurtosis), rel=0.1)


class Cells(nn.Module):
    """A recurrent network's outputs, and those of one upon it."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.second = (getattr(nn, kind)(WIDTH, WIDTH, batch_first=True) for _ in range(2))

    def forward(self, x):
        return self.second(self.first(x)[0])[0]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(("examples", "steps"), [(4, STEPS), (1, 2)])
def test_states_of_recurrent_networks_vary_as_they_do_over_draws(kind, examples, steps):
    """Each deviation within the tenth that a prediction may be off, and three standard errors of the draws' own."""
    x = seeded(examples, steps, WIDTH)
    predicted = [deviation(row) for row in predict(lambda: Cells(kind), x)]
    logs = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = Cells(kind)
        with torch.no_grad():
            h = model.first(x)[0]
            logs.append([float(t.double().square().mean().log()) for t in (h, model.second(h)[0])])
    ratio = np.log(predicted / np.std(logs, 0))
    assert (abs(ratio) < np.log1p(0.1) + 3 / (2 * DRAWS) ** 0.5).all(), ratio


def test_noises_that_are_nearly_one_are_not_made_more_of_than_is_known_of_them():
    """Of two that differ by a thousandth, a covariance off by a hundredth would ask for ten times their difference."""
    among = np.array([[1.0, 0.999], [0.999, 1.0]])
    shares = own_noise.projected(among, np.array([1.0, 0.99]), 1.0)
    assert shares.sum() == pytest.approx(1, rel=0.01)
    assert abs(shares).max() < 1
    assert own_noise.projected(np.eye(2), np.array([0.6, 0.3]), 1.0) == pytest.approx([0.6, 0.3])
